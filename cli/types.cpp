// `seqmix types`: the registered layer types, and the schema of one.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"

namespace seqmix_cli {

namespace {

Json schema_of(const char* type) {
    const char* text = nullptr;
    check(seqmix_type_schema(type, &text), kUsage);
    return Json::parse(text);
}

}  // namespace

int run_types(const TypesOptions& options) {
    if (!options.name.empty()) {
        const Json schema = schema_of(options.name.c_str());
        if (options.json) {
            print_json(schema);
        } else {
            std::printf("%s\n", schema.dump(2).c_str());
            flush_stdout();
        }
        return kOk;
    }
    Json types = Json::array();
    for (size_t i = 0; i < seqmix_type_count(); ++i) {
        const char* name = seqmix_type_name(i);
        types.push_back({{"type", name}, {"doc", schema_of(name).value("doc", "")}});
    }
    if (options.json) {
        print_json({{"types", types}});
        return kOk;
    }
    for (const Json& type : types) {
        std::printf("%-20s %s\n", type["type"].get_ref<const std::string&>().c_str(),
                    type["doc"].get_ref<const std::string&>().c_str());
    }
    flush_stdout();
    return kOk;
}

}  // namespace seqmix_cli
