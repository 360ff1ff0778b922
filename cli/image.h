// Pictures in and out as 8-bit samples, rows from the top, channels interleaved. PNG where the program
// was built with libpng. Failures are kCannotRead.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace seqmix_cli {

struct Image {
    int64_t width = 0, height = 0, channels = 0;  // 1: grey, 3: red, green, blue
    std::vector<uint8_t> samples;
};

bool is_png(const std::string& bytes);
// As grey (1) or colours (3), whatever the file has; what is transparent is on black.
Image decode_png(const std::string& bytes, const std::string& path, int64_t channels);
std::string encode_png(const Image& image, const std::string& path);
// Throws where encode_png would for want of libpng, before work is done.
void need_png(const std::string& path);

}  // namespace seqmix_cli
