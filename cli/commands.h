// The commands and what each of them takes. main.cpp fills these from the command line; a command
// returns its exit code or throws Failure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model.h"
#include "sampler.h"

namespace seqmix_cli {

struct CommonOptions {
    ContextOptions context;
    std::string model;
    bool json = false;
};

// Where tokens come from; empty paths are not given.
struct InputOptions {
    std::string text;    // a file of bytes
    std::string tokens;  // a file of ids
};

struct InspectOptions {
    CommonOptions common;
    bool tensors = false;
};
int run_inspect(const InspectOptions& options);

struct GenerateOptions {
    CommonOptions common;
    std::string prompt;
    std::string prompt_file;
    std::string tokens;
    bool echo = false;
    int64_t max_tokens = 200;
    SamplerOptions sampler;
    uint64_t seed = 0;
    bool seed_given = false;
    std::string save_state;
    std::string load_state;
    bool accept_other_weights = false;
};
int run_generate(const GenerateOptions& options);

struct ScoreOptions {
    CommonOptions common;
    InputOptions input;
    bool per_token = false;
    int64_t chunk = 512;
};
int run_score(const ScoreOptions& options);

struct EmbedOptions {
    CommonOptions common;
    InputOptions input;
    std::string out;
    int64_t chunk = 512;
};
int run_embed(const EmbedOptions& options);

struct SelftestOptions {
    CommonOptions common;
    InputOptions input;
    int64_t length = 0;  // 0: 96 random tokens, or the first 1024 of a file
    double tolerance = 1e-4;
};
int run_selftest(const SelftestOptions& options);

struct BenchOptions {
    CommonOptions common;
    std::string mixer;
    std::vector<std::string> settings;  // key=value
    int64_t batch = 1;
    int64_t tokens = 512;
    std::vector<int64_t> lengths{16, 128, 512, 2048};
    int64_t decode = 64;
    int64_t repeats = 5;
};
int run_bench(const BenchOptions& options);

struct TypesOptions {
    std::string name;
    bool json = false;
};
int run_types(const TypesOptions& options);

struct StateShowOptions {
    CommonOptions common;
    std::string file;
    bool accept_other_weights = false;
};
int run_state_show(const StateShowOptions& options);

struct StateDiffOptions {
    CommonOptions common;
    std::string first, second;
    bool accept_other_weights = false;
};
int run_state_diff(const StateDiffOptions& options);

}  // namespace seqmix_cli
