// Where the tests find numbers and files made by others. They are never part of the repository:
// the variable SEQMIX_SHARED names their folder, by default ../shared beside the source tree.
// A test that needs one and does not find it is skipped, or fails with SEQMIX_REQUIRE_DATA=1.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#ifndef SEQMIX_SOURCE_DIR
#define SEQMIX_SOURCE_DIR "."
#endif

namespace seqmix_test {

inline std::string source_dir() { return SEQMIX_SOURCE_DIR; }

inline std::string shared_dir() {
    const char* dir = std::getenv("SEQMIX_SHARED");
    return dir != nullptr && *dir != '\0' ? std::string(dir) : source_dir() + "/../shared";
}

// The path of something below the shared folder, there or not: shared_path("golden/x.safetensors").
inline std::string shared_path(const std::string& relative) {
    return shared_dir() + "/" + relative;
}

inline bool shared_exists(const std::string& relative) {
    std::error_code error;
    return std::filesystem::exists(shared_path(relative), error);
}

inline bool data_required() {
    const char* value = std::getenv("SEQMIX_REQUIRE_DATA");
    return value != nullptr && *value != '\0' && std::string(value) != "0";
}

}  // namespace seqmix_test

// In a test body, or SetUp: leaves the test unless shared_path(relative) is there.
#define SEQMIX_NEED_SHARED(relative)                                         \
    do {                                                                     \
        if (!::seqmix_test::shared_exists(relative)) {                       \
            if (::seqmix_test::data_required()) {                            \
                FAIL() << "missing " << ::seqmix_test::shared_path(relative) \
                       << " (SEQMIX_REQUIRE_DATA is set)";                   \
            }                                                                \
            GTEST_SKIP() << "needs " << ::seqmix_test::shared_path(relative) \
                         << "; SEQMIX_SHARED names the folder";              \
        }                                                                    \
    } while (false)
