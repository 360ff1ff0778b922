// Items for a classifier: pictures (MNIST's idx, PNG) or series of numbers (.npy, text). All failures
// are kCannotRead.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace seqmix_cli {

// A series as it goes into a model: (steps, channels). Pictures are read row by row, a pixel a step,
// or a row a step where the model is as wide as a row; their values are 0 to 255.
struct Item {
    std::string name;
    int64_t steps = 0;
    std::vector<float> values;
};

struct Items {
    std::vector<Item> items;
    bool images = false;
};

// All items of a file for a model of `channels` inputs, [first, first + limit) of them (0: all). An
// idx file may be compressed by gzip where the program was built with zlib.
Items read_items(const std::string& path, int64_t channels, int64_t first, int64_t limit);

// A list of integers as text, or an idx file of them.
std::vector<int64_t> read_labels(const std::string& path);

}  // namespace seqmix_cli
