// The conformance suite: every check for every registered type at every level that this CPU has.
//
// Tests are registered at run time as suite "mixer/<type>/<level>/f32", test "<check>" (a parameterised
// suite could not: its names allow no '/'). A ctest runs those of a type and level. For one type, and
// for one check:
//   ctest -R mixer/selective_scan_op/
//   conformance_tests --gtest_filter='mixer/selective_scan_op/avx2/*.chunked'
//
// SEQMIX_TEST_ISA=<level>     only that level
// SEQMIX_TEST_SCALE=small     fewer repeats and shorter sequences, for valgrind and sanitizers
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iostream>

#include "checks.h"

namespace seqmix::mixers {
#define SEQMIX_MIXER(type, folder) extern const MixerCases type##_cases;
#include "mixers/mixers.inc"
#include "models/models.inc"
#undef SEQMIX_MIXER
}  // namespace seqmix::mixers

namespace seqmix::conformance {

namespace {

const std::vector<const MixerCases*>& all_cases() {
    static const std::vector<const MixerCases*> cases = {
#define SEQMIX_MIXER(type, folder) &mixers::type##_cases,
#include "mixers/mixers.inc"
#include "models/models.inc"
#undef SEQMIX_MIXER
    };
    return cases;
}

const MixerCases* cases_of(const std::string& type) {
    for (const MixerCases* cases : all_cases()) {
        if (type == cases->type) {
            return cases;
        }
    }
    return nullptr;
}

std::vector<std::string> registered_types() {
    std::vector<std::string> types;
    for (size_t i = 0; i < seqmix_type_count(); ++i) {
        types.push_back(seqmix_type_name(i));
    }
    return types;
}

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
        text.replace(at, from.size(), to);
    }
    return text;
}

// Around the vector widths of the levels, and primes.
const int64_t kSizes[] = {1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 47};

class MixerTest : public testing::Test {
  public:
    MixerTest(const MixerCases& mixer, std::string level, const Check& check)
        : mixer_(mixer), level_(std::move(level)), check_(check) {}

    void TestBody() override {
        const Facts facts = facts_of(mixer_.type);
        switch (check_.each) {
            case Each::sweep:
                for (const Case& sweep : mixer_.sweeps) {
                    for (const int64_t size : kSizes) {
                        if (small_scale() && size != 1 && size != 7 && size != 16 && size != 17) {
                            continue;
                        }
                        Case setup = sweep;
                        const std::string attributes =
                            replace_all(replace_all(setup.attributes, "$", std::to_string(size)),
                                        "@", std::to_string(4 * size));
                        setup.attributes = attributes.c_str();
                        run({mixer_, setup, level_, facts}, {0, 0},
                            " size " + std::to_string(size));
                    }
                }
                break;
            case Each::long_run: run_all(mixer_.long_runs); break;
            case Each::shape:
            case Each::setup: run_all(mixer_.cases); break;
        }
        const char* field = check_.each == Each::sweep      ? "sweeps"
                            : check_.each == Each::long_run ? "long_runs"
                                                            : "cases with shapes";
        EXPECT_GT(runs_, 0) << mixer_.type << ": cases.cpp has no " << field
                            << ", which this needs";
    }

  private:
    void run_all(const std::vector<Case>& cases) {
        for (const Case& setup : cases) {
            const Facts its = facts_of(mixer_.type, setup);
            if (!check_.applies(mixer_, its)) {
                ++runs_;  // another case of the type has it
                continue;
            }
            const Env env{mixer_, setup, level_, its};
            if (check_.each == Each::setup) {
                run(env, {0, 0}, "");
                continue;
            }
            for (const BatchTime& shape : setup.shapes) {
                // Small scale: one short and one crossing a border of the smallest block.
                if (small_scale() && check_.each == Each::shape &&
                    (shape.tokens > 64 || &shape - setup.shapes.data() > 1)) {
                    continue;
                }
                run(env, shape,
                    " B" + std::to_string(shape.batch) + " T" + std::to_string(shape.tokens));
            }
        }
    }

    void run(const Env& env, BatchTime shape, const std::string& where) {
        ++runs_;
        if (failures_ >= 6) {
            return;  // the first ones tell enough
        }
        try {
            check_.run(env, shape);
        } catch (const std::exception& failure) {
            ++failures_;
            ADD_FAILURE() << env.setup.name << where << ": " << failure.what();
        }
    }

    const MixerCases& mixer_;
    std::string level_;
    Check check_;
    int runs_ = 0, failures_ = 0;
};

bool needed(const MixerCases& mixer, const Check& check) {
    if (check.each == Each::sweep) {
        return !mixer.from_checkpoint;
    }
    return check.each != Each::long_run || facts_of(mixer.type).stateful;
}

void register_tests() {
    std::vector<Check> checks;
    for (const auto& group : {number_checks(), equal_checks(), state_checks(), memory_checks()}) {
        checks.insert(checks.end(), group.begin(), group.end());
    }
    for (const std::string& type : registered_types()) {
        const MixerCases* mixer = cases_of(type);
        if (mixer == nullptr) {
            continue;  // registry.every_type_has_cases says so
        }
        const Facts facts = facts_of(type);
        for (const std::string& level : levels()) {
            for (const Check& check : checks) {
                if (!check.applies(*mixer, facts) || !needed(*mixer, check)) {
                    continue;
                }
                const std::string suite = "mixer/" + type + "/" + level + "/f32";
                testing::RegisterTest(suite.c_str(), check.name, nullptr, nullptr, __FILE__,
                                      __LINE__, [mixer, level, check]() -> MixerTest* {
                                          return new MixerTest(*mixer, level, check);
                                      });
            }
        }
    }
}

// ------------------------------------------------------------------ the registry itself

TEST(registry, every_type_has_cases) {
    const std::vector<std::string> types = registered_types();
    EXPECT_FALSE(types.empty());
    for (const std::string& type : types) {
        const MixerCases* mixer = cases_of(type);
        if (mixer == nullptr) {
            ADD_FAILURE() << type << " is registered and has no cases";
            continue;
        }
        EXPECT_FALSE(mixer->cases.empty()) << type;
        EXPECT_TRUE(mixer->from_checkpoint || !mixer->sweeps.empty())
            << type << ": cases.cpp has no sweeps";
    }
    for (const MixerCases* mixer : all_cases()) {
        EXPECT_NE(std::find(types.begin(), types.end(), mixer->type), types.end())
            << mixer->type << " has cases and is not registered";
    }
}

TEST(registry, tolerances_have_reasons) {
    for (const MixerCases* mixer : all_cases()) {
        for (const std::vector<Case>* cases : {&mixer->cases, &mixer->sweeps, &mixer->long_runs}) {
            for (const Case& setup : *cases) {
                EXPECT_TRUE(setup.tolerance.value <= Tolerance().value ||
                            std::strlen(setup.tolerance.reason) > 20)
                    << mixer->type << " " << setup.name;
            }
        }
    }
}

// A level that was built and that the CPU has must be there; asking for another is an error.
TEST(registry, levels) {
    for (const std::string& level : built_levels()) {
        bool cpu_has = level == "reference" || level == "generic";
#if defined(__x86_64__)
        if (level == "avx2") {
            cpu_has = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
        }
        if (level == "avx512") {
            cpu_has =
                __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
        }
#endif
        seqmix_context_options options{};
        options.struct_size = sizeof options;
        options.threads = 1;
        options.isa = level.c_str();
        seqmix_context* context = nullptr;
        const seqmix_status status = seqmix_context_create(&options, &context);
        // valgrind and emulators may hide more than the compiler's builtin knows.
        EXPECT_TRUE(status == SEQMIX_OK || status == SEQMIX_ERR_UNSUPPORTED_CPU) << level;
        if (cpu_has) {
            EXPECT_EQ(status, SEQMIX_OK) << level << ": " << seqmix_last_error();
        }
        seqmix_context_release(context);
    }
}

}  // namespace

// A filter that selects nothing is no success. ctest names every level that was built: 77, which it
// counts as skipped, where this CPU lacks the level.
int nothing_ran(const std::string& filter) {
    for (const std::string& level : built_levels()) {
        const std::vector<std::string> here = levels();
        if (filter.find("/" + level + "/") != std::string::npos &&
            std::find(here.begin(), here.end(), level) == here.end()) {
            std::cerr << "skipped: this CPU or SEQMIX_TEST_ISA leaves out " << level << "\n";
            return 77;
        }
    }
    std::cerr << "conformance: no check matches " << filter << "\n";
    return 1;
}

}  // namespace seqmix::conformance

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    try {
        seqmix::conformance::register_tests();
    } catch (const std::exception& failure) {
        std::cerr << "conformance: " << failure.what() << "\n";
        return 1;
    }
    const int status = RUN_ALL_TESTS();
    if (testing::UnitTest::GetInstance()->test_to_run_count() == 0) {
        return seqmix::conformance::nothing_ran(testing::GTEST_FLAG(filter));
    }
    return status;
}
