// The commands and what each of them takes. main.cpp fills these from the command line; a command
// returns its exit code or throws Failure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model.h"
#include "sampler.h"
#include "signal.h"

namespace seqmix_cli {

struct CommonOptions {
    ContextOptions context;
    std::string model;
    OpenOptions open;
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

struct ConvertOptions {
    CommonOptions common;
    std::string out;
};
int run_convert(const ConvertOptions& options);

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
    std::vector<std::string> crossover;  // two types
    std::vector<std::string> settings;   // key=value
    std::string out;
    int64_t batch = 1;
    int64_t tokens = 512;
    std::vector<int64_t> lengths{16, 128, 512, 2048};
    int64_t decode = 64;
    int64_t repeats = 5;
};
int run_bench(const BenchOptions& options);
int run_crossover(const BenchOptions& options);

struct StreamOptions {
    CommonOptions common;
    SignalOptions signal;
    std::string input = "-", output = "-";
    bool sound = false;  // the input is a sound file whatever its name
    int64_t block = 128;
    double rate = 48000;  // of raw samples
};
int run_stream(const StreamOptions& options);

struct ClassifyOptions {
    CommonOptions common;
    SignalOptions signal;
    std::vector<std::string> inputs;
    std::vector<double> mean, deviation;  // one a channel, or one for all
    double scale = 0;                     // 0: 1/255 for images, 1 for series
    std::string labels;
    int64_t first = 0, limit = 0;  // items; 0: all
    int64_t chunk = 0;             // tokens a call; 0: all at once
};
int run_classify(const ClassifyOptions& options);

struct PlotOptions {
    CommonOptions common;
    SignalOptions signal;
    InputOptions input;
    std::string series;
    std::string what = "matrix";
    std::string out;
    int64_t block = 0, lane = 0, tokens = 128;
    double rate = 0;
};
int run_plot(const PlotOptions& options);

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
