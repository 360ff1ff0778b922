#include "models/formats/converted.h"

#include <limits>
#include <memory>
#include <utility>

#include "base/json_writer.h"
#include "models/formats/json.h"
#include "models/formats/source.h"

namespace seqmix {
namespace {

// NAME and NAME_scale become one tensor.
Status pair_factors(const FileSource& source, TensorMap& tensors) {
    for (auto& [name, tensor] : tensors) {
        if (tensor.dtype != DType::i8 || tensor.shape.empty()) continue;
        const auto found = tensors.find(name + kFactorsSuffix);
        if (found == tensors.end()) continue;  // some other tensor of integers
        const StoredTensor& factors = found->second;
        std::vector<int64_t> shape = tensor.shape;
        shape.back() = 1;
        if (factors.dtype != DType::f32 || factors.shape != shape) {
            const auto dims = [](const std::vector<int64_t>& of) {
                return Dims{of.data(), static_cast<int32_t>(of.size())};
            };
            return source.bad("tensor ", in_quotes(found->first), " has shape ",
                              dims(factors.shape), " ", factors.dtype_text, ", expected ",
                              dims(shape), " F32 for the rows of ", in_quotes(name));
        }
        tensor.dtype = DType::f32;
        tensor.coding = Coding::i8_rows;
        tensor.factors = factors.data;
        // NAME_scale comes after NAME in the map's order.
        tensors.erase(found);
    }
    return {};
}

Status read_turned(const FileSource& source, const std::string& text, TensorMap& tensors) {
    Json names;
    SEQMIX_TRY(parse_json(text, kTurnedKey, JsonNumbers::finite, names));
    const auto* list = names.get_if<Json::Array>();
    if (list == nullptr) {
        return source.bad("'", kTurnedKey, "' is ", describe(names), ", expected an array");
    }
    for (const Json& value : *list) {
        const auto* name = value.get_if<std::string>();
        const auto found = name == nullptr ? tensors.end() : tensors.find(*name);
        if (found == tensors.end() || found->second.shape.size() != 2 || found->second.turned) {
            return source.bad("'", kTurnedKey, "' names ", describe(value),
                              ", expected matrices of the file, each once");
        }
        found->second.turned = true;
        std::swap(found->second.shape[0], found->second.shape[1]);
    }
    return {};
}

void write_json(const Json& value, JsonWriter& out) {
    if (const auto* object = value.get_if<Json::Object>()) {
        out.begin_object();
        for (const auto& [key, member] : *object) {
            out.key(key);
            write_json(member, out);
        }
        out.end_object();
    } else if (const auto* array = value.get_if<Json::Array>()) {
        out.begin_array();
        for (const Json& item : *array) write_json(item, out);
        out.end_array();
    } else if (const auto* flag = value.get_if<bool>()) {
        out.value(*flag);
    } else if (const auto* whole = value.get_if<int64_t>()) {
        out.value(*whole);
    } else if (const auto* natural = value.get_if<uint64_t>()) {
        out.value(*natural);
    } else if (const auto* text = value.get_if<std::string>()) {
        out.value(*text);
    } else {
        const auto* real = value.get_if<double>();
        out.value(real == nullptr ? std::numeric_limits<double>::quiet_NaN() : *real);  // null
    }
}

}  // namespace

Status read_converted(std::string_view source_name, TensorFile& file) {
    const FileSource source{"safetensors", source_name};
    SEQMIX_TRY(pair_factors(source, file.tensors));
    const auto text = [&](const char* key) -> const std::string* {
        const auto found = file.metadata.find(key);
        return found == file.metadata.end() ? nullptr : &found->second;
    };
    if (const std::string* turned = text(kTurnedKey)) {
        SEQMIX_TRY(read_turned(source, *turned, file.tensors));
    }
    if (const std::string* config = text(kConfigKey)) {
        auto parsed = std::make_shared<Json>();
        SEQMIX_TRY(parse_json(*config, kConfigKey, JsonNumbers::any, *parsed));
        if (parsed->get_if<Json::Object>() == nullptr) {
            return source.bad("'", kConfigKey, "' is ", describe(*parsed), ", expected an object");
        }
        file.config = std::move(parsed);
    }
    return {};
}

Status read_weight_format(const Metadata& metadata, WeightFormat* out) {
    *out = WeightFormat::stored;
    const auto found = metadata.find(kWeightsKey);
    if (found == metadata.end()) return {};
    for (const WeightFormat format : {WeightFormat::bf16, WeightFormat::int8}) {
        if (found->second == kWeightFormats[static_cast<size_t>(format)]) {
            *out = format;
            return {};
        }
    }
    return fail(SEQMIX_ERR_BAD_FORMAT, "checkpoint: metadata '", kWeightsKey, "' is ",
                in_quotes(found->second, 40), ", expected bf16 or int8");
}

Metadata converted_metadata(const Metadata& original, WeightFormat format,
                            const std::vector<std::string>& turned, const Json* config) {
    Metadata result = original;
    result.emplace("format", "pt");  // transformers asks for it
    if (format != WeightFormat::stored) {
        result[kWeightsKey] = kWeightFormats[static_cast<size_t>(format)];
    }
    result.erase(kTurnedKey);
    if (!turned.empty()) {
        JsonWriter names;
        names.value(turned);
        result[kTurnedKey] = names.text();
    }
    if (config != nullptr) {
        JsonWriter keys;
        write_json(*config, keys);
        result[kConfigKey] = keys.text();
    }
    return result;
}

}  // namespace seqmix
