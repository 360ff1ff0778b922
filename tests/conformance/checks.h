// The checks of the conformance suite. A check says which types it is for and runs one case; the
// driver (main.cpp) runs it for every case of every type at every level.
#pragma once

#include <string>
#include <vector>

#include "models.h"

namespace seqmix::conformance {

// What a check runs in: one case of one type at one level.
struct Env {
    const MixerCases& mixer;
    const Case& setup;
    std::string level;
    Facts facts;

    Context context(int32_t threads = 1, Executor executor = Executor::pool) const {
        return Context({.isa = level, .threads = threads, .executor = executor});
    }
    Model model() const { return Model(context(), mixer, setup); }
    int repeats(int full) const { return small_scale() ? 1 : full; }
};

enum class Each : uint8_t { shape, setup, sweep, long_run };

struct Check {
    const char* name;
    Each each;
    bool (*applies)(const MixerCases& mixer, const Facts& facts);
    // `shape` is one of the case's, or {0,0} for Each::setup.
    void (*run)(const Env& env, BatchTime shape);
};

std::vector<Check> number_checks();  // the values are right
std::vector<Check> equal_checks();   // the same work done otherwise gives the same bits
std::vector<Check> state_checks();   // the state handle
std::vector<Check> memory_checks();  // layouts, guard pages

inline bool any_type(const MixerCases&, const Facts&) { return true; }

}  // namespace seqmix::conformance
