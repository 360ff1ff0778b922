// Converted checkpoints against their originals: of each container and scheme, and each format, the numbers
// of the file that seqmix_checkpoint_convert writes are those of the original opened in that format,
// bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "../support/capi.h"
#include "../support/gguf.h"
#include "../support/golden_case.h"
#include "../support/safetensors_file.h"
#include "../support/shared_data.h"
#include "../unit/checkpoint_files.h"

namespace {

using namespace seqmix_test;
using testing::HasSubstr;
namespace fs = std::filesystem;

struct Original {
    const char* name;
    const char* path;  // of the shared data, or of the sources where it begins with "models/"
    // Options of the scheme: a key and its integer or real number; null: none.
    const char* key = nullptr;
    double value = 0;
};

const Original kOriginals[] = {
    {"shipped", "models/shakespeare"},
    {"mamba_hf", "golden/mamba-hf-a-base"},
    {"mamba_bf16", "golden/mamba-hf-b-bf16"},
    {"mamba_odd", "golden/mamba-hf-c-odd"},
    {"shards", "golden/mamba-hf-d-sharded"},
    {"mamba_ssm_torch", "golden/mamba-hf-e-original"},
    {"falcon", "golden/mamba-hf-f-falcon"},
    {"mamba_f16", "golden/mamba-hf-g-f16"},
    {"hyenadna_hf", "golden/longconv-op-hyenadna-hf"},
    {"hyenadna_original", "golden/longconv-op-hyenadna-original"},
    {"s4_torch", "data/s4-smnist/s4_smnist_ckpt.pth"},
    {"s4d_torch", "data/s4d-cifar10/ethorondor_ckpt.pth"},
    {"mambalite", "data/mambalite/mamba_kws10.safetensors"},
    {"ckcnn", "data/ckconv/ckcnn_smnist_30.pt", "omega_0", 31.09},
    {"mingpt_turned", "data/adder/mingpt_adder.pt", "n_head", 3},
    {"makemore_turned", "data/makemore/makemore_transformer.pt", "n_head", 4},
    {"llama2c", "data/stories260k/stories260K.bin"},
};

void PrintTo(const Original& original, std::ostream* out) { *out << original.name; }

std::string path_of(const std::string& path) {
    return path.starts_with("models/") ? source_dir() + "/" + path : shared_path(path);
}

Config config_of(const Original& original) {
    Config config;
    if (original.key == nullptr) return config;
    if (original.value == std::floor(original.value)) {
        return Config().set(original.key, static_cast<int64_t>(original.value));
    }
    return Config().set(original.key, original.value);
}

Layer open_as(const Context& context, const std::string& path, const Config& config) {
    Layer layer;
    check(seqmix_layer_open(context.get(), path.c_str(), config.get(), layer.out()), path.c_str());
    return layer;
}

seqmix_slot_info info_of(const Layer& layer, const std::string& name) {
    for (const seqmix_slot_info& info : slots_of(layer)) {
        if (info.name == name) return info;
    }
    throw std::runtime_error("no slot " + name);
}

// The outputs for an input that any of these models takes: tokens in two pieces, or numbers.
Bits outputs(const Layer& model) {
    const std::string output =
        find_slot(model, "logits") >= 0 ? "logits" : first_slot(model, SEQMIX_ROLE_OUTPUT);
    const State state = make_state(model);
    if (find_slot(model, "tokens") < 0) {
        const seqmix_slot_info x = info_of(model, "x");
        return run(model, state, noise(DType::f32, {1, 24, x.shape[2]}, 5), output).bits();
    }
    const int64_t V = [&] {
        const seqmix_slot_info logits = info_of(model, output);
        return logits.shape[logits.ndim - 1];
    }();
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 6; ++i) ids.push_back((5 * i + 1) % std::min<int64_t>(V, 10));
    const auto part = [&](size_t first, size_t count) {
        const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(first);
        return Tensor::i64({begin, begin + static_cast<std::ptrdiff_t>(count)},
                           {1, static_cast<int64_t>(count)});
    };
    try {
        Bits bits = run(model, state, part(0, 5), output).bits();
        bits += run(model, state, part(5, 1), output).bits();  // products of one row
        return bits;
    } catch (const std::runtime_error&) {  // a model that takes whole inputs
        return run(model, make_state(model), part(0, 6), output).bits();
    }
}

void convert(const std::string& path, const char* format, const std::string& to,
             const Config& config = Config()) {
    const Context context = make_context(nullptr, 1, format);
    check(seqmix_checkpoint_convert(context.get(), path.c_str(), config.get(), to.c_str()),
          path.c_str());
}

// Writes OUT/model.safetensors, with the original's config.json beside it.
void convert_into(const TempFolder& folder, const std::string& path, const char* format,
                  const Config& config = Config()) {
    convert(path, format, folder.file("model.safetensors"), config);
    const fs::path beside = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
    if (fs::exists(beside / "config.json")) {
        fs::copy_file(beside / "config.json", folder.file("config.json"),
                      fs::copy_options::overwrite_existing);
    }
}

class Converted : public testing::TestWithParam<Original> {};

TEST_P(Converted, GivesTheOriginalsNumbersInItsFormat) {
    const Original& original = GetParam();
    if (!std::string(original.path).starts_with("models/")) SEQMIX_NEED_SHARED(original.path);
    const std::string path = path_of(original.path);
    const Config config = config_of(original);
    for (const char* format : {"stored", "bf16", "int8"}) {
        const TempFolder folder;
        convert_into(folder, path, format, config);
        for (const std::string& level : levels()) {
            SCOPED_TRACE(std::string(format) + " " + level);
            if (is_reference(level)) continue;
            const Context as_stored = make_context(level.c_str(), 1);
            const Context in_format = make_context(level.c_str(), 1, format);
            const Bits want = outputs(open_as(in_format, path, config));
            EXPECT_EQ(outputs(open_as(as_stored, folder.path(), config)), want);
            EXPECT_EQ(outputs(open_as(in_format, folder.path(), config)), want);
        }
        // Converted again it is the same file, and the format stays where none is asked for.
        const TempFolder again;
        convert_into(again, folder.path(), format, config);
        EXPECT_EQ(Bits(read_bytes(again.file("model.safetensors"))),
                  Bits(read_bytes(folder.file("model.safetensors"))));
        convert_into(again, folder.path(), "stored", config);
        EXPECT_EQ(Bits(read_bytes(again.file("model.safetensors"))),
                  Bits(read_bytes(folder.file("model.safetensors"))));
    }
}

INSTANTIATE_TEST_SUITE_P(All, Converted, testing::ValuesIn(kOriginals),
                         [](const auto& info) { return std::string(info.param.name); });

// The small models in GGUF's types: the keys go along, and Q8_0 needs no f32 in between.
TEST(ConvertedGguf, CarriesItsKeys) {
    for (const bool mamba : {true, false}) {
        const TempFolder from;
        GgufFile file = mamba ? small_gguf_mamba(GgufType::q8_0) : small_gguf_llama();
        const std::string path = from.write("model.gguf", file.bytes());
        for (const char* format : {"stored", "bf16", "int8"}) {
            SCOPED_TRACE(std::string(mamba ? "mamba " : "llama ") + format);
            const TempFolder folder;
            convert_into(folder, path, format);
            const Context in_format = make_context(nullptr, 1, format);
            EXPECT_EQ(outputs(open_model(make_context(), folder.path())),
                      outputs(open_model(in_format, path)));
        }
    }
}

// A matrix in int8 is I8 and a factor for each row, as `Linear` makes them; the small rest is as it was.
TEST(ConvertedFile, HoldsMatricesAndTheirFactors) {
    const std::string path = source_dir() + "/models/shakespeare";
    const SafetensorsFile original(path + "/model.safetensors");
    for (const char* format : {"bf16", "int8"}) {
        SCOPED_TRACE(format);
        const bool int8 = std::string(format) == "int8";
        const TempFolder folder;
        convert_into(folder, path, format);
        const double size = static_cast<double>(fs::file_size(folder.file("model.safetensors")));
        const double before = static_cast<double>(fs::file_size(path + "/model.safetensors"));
        EXPECT_LT(size / before, int8 ? 0.30 : 0.53);
        const SafetensorsFile file(folder.file("model.safetensors"));
        const std::string matrix = "backbone.layers.2.mixer.in_proj.weight";
        const Values want = original.doubles(matrix);
        const Shape shape = file.shape(matrix);
        ASSERT_EQ(shape, original.shape(matrix));
        EXPECT_EQ(file.dtype(matrix), int8 ? "I8" : "BF16");
        if (int8) {
            const std::vector<int64_t> q = file.integers(matrix);
            const Values factors = file.doubles(matrix + "_scale");
            ASSERT_EQ(file.shape(matrix + "_scale"), (Shape{shape[0], 1}));
            for (int64_t row = 0; row < shape[0]; ++row) {
                double largest = 0;
                for (int64_t i = row * shape[1]; i < (row + 1) * shape[1]; ++i) {
                    const auto at = static_cast<size_t>(i);
                    largest = std::max(largest, std::abs(want[at]));
                    const double factor = factors[static_cast<size_t>(row)];
                    // Half a step, and the roundings of the factor.
                    ASSERT_LE(std::abs(factor * static_cast<double>(q[at]) - want[at]),
                              0.5001 * factor);
                }
                ASSERT_NEAR(factors[static_cast<size_t>(row)] * 127, largest, 1e-6 * largest);
            }
        }
        const std::string other = "backbone.layers.2.mixer.A_log";
        EXPECT_EQ(file.dtype(other), "F32");
        EXPECT_EQ(file.doubles(other), original.doubles(other));
        EXPECT_EQ(file.dtype("backbone.norm_f.weight"), "F32");
    }
}

TEST(ConvertedFile, ReplacesAnOldOneAndLeavesNothingBeside) {
    const std::string path = source_dir() + "/models/shakespeare";
    const TempFolder folder;
    folder.write("model.safetensors", "old");
    convert(path, "int8", folder.file("model.safetensors"));
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder.path())) {
        names.push_back(entry.path().filename().string());
    }
    EXPECT_THAT(names, testing::ElementsAre("model.safetensors"));
    const Context context = make_context();
    EXPECT_ERROR(SEQMIX_ERR_IO,
                 seqmix_checkpoint_convert(context.get(), path.c_str(), nullptr,
                                           folder.file("no/such/folder").c_str()),
                 HasSubstr("cannot write"));
    EXPECT_ERROR(SEQMIX_ERR_IO,
                 seqmix_checkpoint_convert(context.get(), folder.file("none").c_str(), nullptr,
                                           folder.file("x").c_str()),
                 HasSubstr("none"));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_checkpoint_convert(context.get(), path.c_str(), nullptr, nullptr));
}

}  // namespace
