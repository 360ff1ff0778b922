// One golden file of the shared folder: tensors by name, options, and the tolerance its README gives.
#pragma once

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "capi.h"
#include "safetensors_file.h"
#include "shared_data.h"

namespace seqmix_test {

// f64 paths agree with the references to this, relative to the largest value of a tensor.
constexpr double kReferenceTolerance = 1e-12;
// f32 paths, unless the reference's own f32 error is larger.
constexpr double kF32Tolerance = 1e-5;

// The worst figure of the metadata key reference_f32_error: max|f32 - f64| / max|f64|.
inline double reference_f32_error(const SafetensorsFile& file) {
    const std::string text = file.metadata("reference_f32_error");
    double worst = 0;
    if (!text.empty()) {
        const nlohmann::json json = nlohmann::json::parse(text);
        for (const auto& [name, figures] : json.items()) {
            const double error = figures.at("max_abs_f32_minus_f64").get<double>();
            const double scale = figures.at("max_abs").get<double>();
            worst = std::max(worst, scale > 0 ? error / scale : 0.0);
        }
    }
    return worst;
}

inline double tolerance(const SafetensorsFile& file, const std::string& level) {
    return is_reference(level) ? kReferenceTolerance
                               : std::max(kF32Tolerance, reference_f32_error(file));
}

inline Tensor load_tensor(const SafetensorsFile& file, const std::string& name, DType dtype) {
    return Tensor(dtype, file.shape(name), file.doubles(name));
}

// Names in a folder that begin with `prefix`, without the extension, sorted.
inline std::vector<std::string> glob_cases(const std::string& folder, const std::string& prefix) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().stem().string();
        if (name.compare(0, prefix.size(), prefix) == 0) {
            names.push_back(name);
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

// A case's name as GoogleTest allows it: letters, digits and '_'.
inline std::string test_name(std::string name) {
    for (char& c : name) {
        if (c == '-' || c == '.') {
            c = '_';
        }
    }
    return name;
}

}  // namespace seqmix_test
