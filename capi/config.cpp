#include "capi/config.h"

#include "capi/wall.h"
#include "models/formats/json.h"

using namespace seqmix;

namespace {

template <class T>
seqmix_status set(seqmix_config* config, const char* key, const T* value, size_t n,
                  const char* function) noexcept {
    return guard([&]() -> Status {
        if (config == nullptr || key == nullptr || (value == nullptr && n > 0)) {
            return fail(SEQMIX_ERR_NULL_ARGUMENT, function, ": '",
                        config == nullptr ? "config"
                        : key == nullptr  ? "key"
                                          : "values",
                        "' is NULL");
        }
        config->attributes.set(key, std::vector<T>(value, value + n));
        return Status();
    });
}

seqmix_status set_one(seqmix_config* config, const char* key, AttributeValue value,
                      const char* function) {
    if (config == nullptr || key == nullptr) {
        return fail(SEQMIX_ERR_NULL_ARGUMENT, function, ": '", config == nullptr ? "config" : "key",
                    "' is NULL")
            .code();
    }
    config->attributes.set(key, std::move(value));
    return SEQMIX_OK;
}

bool integer_value(const Json& value, int64_t* out) {
    if (const auto* size = value.get_if<uint64_t>(); size != nullptr && *size <= INT64_MAX) {
        *out = static_cast<int64_t>(*size);
    } else if (const auto* integer = value.get_if<int64_t>(); integer != nullptr) {
        *out = *integer;
    } else {
        return false;
    }
    return true;
}

// A JSON array of numbers; integers only give i64s.
Status array_value(const std::string& key, const Json::Array& array, AttributeValue* out) {
    std::vector<int64_t> integers;
    std::vector<double> reals;
    for (const Json& item : array) {
        double real = 0;
        int64_t integer = 0;
        if (!get_number(item, &real)) {
            return fail(SEQMIX_ERR_BAD_FORMAT, "config: '", key,
                        "' is an array of other things than numbers");
        }
        reals.push_back(real);
        if (integer_value(item, &integer)) {
            integers.push_back(integer);
        }
    }
    if (integers.size() == reals.size()) {
        *out = std::move(integers);
    } else {
        *out = std::move(reals);
    }
    return Status();
}

Status json_value(const std::string& key, const Json& value, AttributeValue* out) {
    int64_t integer = 0;
    if (const auto* flag = value.get_if<bool>(); flag != nullptr) {
        *out = *flag;
    } else if (integer_value(value, &integer)) {
        *out = integer;
    } else if (value.get_if<uint64_t>() != nullptr) {
        return fail(SEQMIX_ERR_BAD_FORMAT, "config: '", key, "' is beyond 64 bits");
    } else if (const auto* real = value.get_if<double>(); real != nullptr) {
        *out = *real;
    } else if (const auto* text = value.get_if<std::string>(); text != nullptr) {
        *out = *text;
    } else if (const auto* array = value.get_if<Json::Array>(); array != nullptr) {
        return array_value(key, *array, out);
    } else {
        return fail(SEQMIX_ERR_BAD_FORMAT, "config: '", key,
                    "' is neither a number, a switch, a string nor an array");
    }
    return Status();
}

}  // namespace

seqmix_status seqmix_config_create(seqmix_config** config) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_config_create", config);
        *config = new seqmix_config;
        return Status();
    });
}

seqmix_status seqmix_config_clone(const seqmix_config* config, seqmix_config** copy) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_config_clone", config);
        SEQMIX_REQUIRE("seqmix_config_clone", copy);
        *copy = new seqmix_config(*config);
        return Status();
    });
}

void seqmix_config_destroy(seqmix_config* config) noexcept { delete config; }

seqmix_status seqmix_config_set_i64(seqmix_config* config, const char* key,
                                    int64_t value) noexcept {
    return guard([&] { return Status(set_one(config, key, value, "seqmix_config_set_i64")); });
}

seqmix_status seqmix_config_set_f64(seqmix_config* config, const char* key, double value) noexcept {
    return guard([&] { return Status(set_one(config, key, value, "seqmix_config_set_f64")); });
}

seqmix_status seqmix_config_set_bool(seqmix_config* config, const char* key,
                                     int32_t value) noexcept {
    return guard(
        [&] { return Status(set_one(config, key, value != 0, "seqmix_config_set_bool")); });
}

seqmix_status seqmix_config_set_str(seqmix_config* config, const char* key,
                                    const char* value) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_config_set_str", value);
        return Status(set_one(config, key, std::string(value), "seqmix_config_set_str"));
    });
}

seqmix_status seqmix_config_set_i64s(seqmix_config* config, const char* key, const int64_t* values,
                                     size_t n) noexcept {
    return set(config, key, values, n, "seqmix_config_set_i64s");
}

seqmix_status seqmix_config_set_f64s(seqmix_config* config, const char* key, const double* values,
                                     size_t n) noexcept {
    return set(config, key, values, n, "seqmix_config_set_f64s");
}

seqmix_status seqmix_config_set_json(seqmix_config* config, const char* json) noexcept {
    return guard([&]() -> Status {
        SEQMIX_REQUIRE("seqmix_config_set_json", config);
        SEQMIX_REQUIRE("seqmix_config_set_json", json);
        Json parsed;
        SEQMIX_TRY(parse_json(json, "config", JsonNumbers::finite, parsed));
        const auto* members = parsed.get_if<Json::Object>();
        if (members == nullptr) {
            return fail(SEQMIX_ERR_BAD_FORMAT, "config: the JSON text is no object");
        }
        Attributes fresh = config->attributes;
        for (const auto& [key, value] : *members) {
            AttributeValue attribute;
            SEQMIX_TRY(json_value(key, value, &attribute));
            fresh.set(key, std::move(attribute));
        }
        config->attributes = std::move(fresh);
        return Status();
    });
}
