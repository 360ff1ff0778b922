#include "image.h"

#include "common.h"
#ifdef SEQMIX_CLI_PNG
#include <png.h>
#endif

namespace seqmix_cli {

bool is_png(const std::string& bytes) { return bytes.starts_with("\x89PNG\r\n\x1a\n"); }

#ifdef SEQMIX_CLI_PNG

namespace {

constexpr int64_t kMostPixels = int64_t{1} << 26;

// libpng's simplified interface keeps its errors in the structure.
struct Handle {
    png_image image{};
    Handle() { image.version = PNG_IMAGE_VERSION; }
    ~Handle() { png_image_free(&image); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
};

}  // namespace

void need_png(const std::string&) {}

Image decode_png(const std::string& bytes, const std::string& path, int64_t channels) {
    Handle handle;
    png_image& image = handle.image;
    if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0) {
        throw Failure(kCannotRead, path + ": " + image.message);
    }
    if (int64_t{image.width} * image.height > kMostPixels) {
        throw Failure(kCannotRead, path + ": more than " + std::to_string(kMostPixels) + " pixels");
    }
    image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
    Image result{image.width, image.height, channels, {}};
    result.samples.resize(PNG_IMAGE_SIZE(image));
    const png_color black{0, 0, 0};
    if (png_image_finish_read(&image, &black, result.samples.data(), 0, nullptr) == 0) {
        throw Failure(kCannotRead, path + ": " + image.message);
    }
    return result;
}

std::string encode_png(const Image& source, const std::string& path) {
    Handle handle;
    png_image& image = handle.image;
    image.width = static_cast<png_uint_32>(source.width);
    image.height = static_cast<png_uint_32>(source.height);
    image.format = source.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    std::string bytes(size, '\0');
    if (png_image_write_to_memory(&image, bytes.data(), &size, 0, source.samples.data(), 0,
                                  nullptr) == 0) {
        throw Failure(kCannotRead, path + ": " + image.message);
    }
    bytes.resize(size);
    return bytes;
}

#else

void need_png(const std::string& path) {
    throw Failure(kCannotRead, path + ": this program was built without libpng");
}

Image decode_png(const std::string&, const std::string& path, int64_t) {
    need_png(path);
    return {};
}

std::string encode_png(const Image&, const std::string& path) {
    need_png(path);
    return {};
}

#endif

}  // namespace seqmix_cli
