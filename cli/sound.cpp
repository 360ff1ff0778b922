#include "sound.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "common.h"
#include "files.h"
#ifdef SEQMIX_CLI_SNDFILE
#include <sndfile.h>
#include <unistd.h>
#endif

namespace seqmix_cli {

namespace {

class RawIn : public SoundIn {
  public:
    RawIn(const std::string& path, int64_t channels) : path_(path), channels_(channels) {
        if (path != "-") {
            owned_.reset(std::fopen(path.c_str(), "rb"));
            if (!owned_) {
                throw Failure(kCannotRead, path + ": cannot open: " + std::strerror(errno));
            }
        }
        file_ = owned_ ? owned_.get() : stdin;
    }
    int64_t read(float* values, int64_t frames) override {
        const size_t frame = static_cast<size_t>(channels_) * sizeof(float);
        const size_t wanted = static_cast<size_t>(frames) * frame;
        const size_t got = std::fread(values, 1, wanted, file_);
        if (std::ferror(file_) != 0) {
            throw Failure(kCannotRead, path_ + ": cannot read: " + std::strerror(errno));
        }
        if (got % frame != 0) {
            throw Failure(kCannotRead, path_ + ": ends within a frame of " +
                                           std::to_string(channels_) + " floats");
        }
        return static_cast<int64_t>(got / frame);
    }
    double rate() const override { return 0; }

  private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::string path_;
    int64_t channels_;
    std::unique_ptr<std::FILE, Close> owned_;
    std::FILE* file_;
};

// A file appears when it is complete; stdout gets every block at once.
class RawOut : public SoundOut {
  public:
    RawOut(const std::string& path, int64_t channels) : channels_(channels) {
        if (path != "-") {
            file_ = std::make_unique<OutputFile>(path);
        }
    }
    void write(const float* values, int64_t frames) override {
        const size_t bytes = static_cast<size_t>(frames * channels_) * sizeof(float);
        if (file_) {
            file_->write(values, bytes);
        } else {
            std::fwrite(values, 1, bytes, stdout);
            flush_stdout();
        }
    }
    void finish() override {
        if (file_) {
            file_->commit();
        }
    }

  private:
    int64_t channels_;
    std::unique_ptr<OutputFile> file_;
};

#ifdef SEQMIX_CLI_SNDFILE

struct CloseSound {
    void operator()(SNDFILE* file) const { sf_close(file); }
};
using SoundHandle = std::unique_ptr<SNDFILE, CloseSound>;

class FileIn : public SoundIn {
  public:
    FileIn(const std::string& path, int64_t channels) : path_(path) {
        file_.reset(path == "-" ? sf_open_fd(STDIN_FILENO, SFM_READ, &info_, 0)
                                : sf_open(path.c_str(), SFM_READ, &info_));
        if (!file_) {
            throw Failure(kCannotRead, path + ": " + sf_strerror(nullptr));
        }
        if (info_.channels != channels) {
            throw Failure(kCannotRead, path + ": has " + std::to_string(info_.channels) +
                                           " channels, the layer takes " +
                                           std::to_string(channels));
        }
    }
    int64_t read(float* values, int64_t frames) override {
        const sf_count_t got = sf_readf_float(file_.get(), values, frames);
        if (sf_error(file_.get()) != SF_ERR_NO_ERROR) {
            throw Failure(kCannotRead, path_ + ": " + sf_strerror(file_.get()));
        }
        return got;
    }
    double rate() const override { return info_.samplerate; }

  private:
    std::string path_;
    SF_INFO info_{};
    SoundHandle file_;
};

class FileOut : public SoundOut {
  public:
    FileOut(const std::string& path, int64_t channels, double rate) : path_(path) {
        SF_INFO info{};
        info.channels = static_cast<int>(channels);
        info.samplerate = static_cast<int>(rate);
        info.format = SF_FORMAT_WAV | SF_FORMAT_FLOAT;
        file_.reset(sf_open(path.c_str(), SFM_WRITE, &info));
        if (!file_) {
            throw Failure(kCannotRead, path + ": " + sf_strerror(nullptr));
        }
    }
    void write(const float* values, int64_t frames) override {
        if (sf_writef_float(file_.get(), values, frames) != frames) {
            throw Failure(kCannotRead, path_ + ": " + sf_strerror(file_.get()));
        }
    }
    void finish() override { file_.reset(); }

  private:
    std::string path_;
    SoundHandle file_;
};

#else

[[noreturn]] void no_sound_files(const std::string& path) {
    throw Failure(kCannotRead, path +
                                   ": this program was built without libsndfile, so it reads and "
                                   "writes raw 32-bit floats only");
}

#endif

}  // namespace

SoundFormat sound_format(const std::string& path) {
    for (const char* end : {".wav", ".flac", ".aiff", ".aif", ".w64", ".ogg"}) {
        if (path.ends_with(end)) {
            return SoundFormat::file;
        }
    }
    return SoundFormat::raw;
}

std::unique_ptr<SoundIn> open_sound(const std::string& path, SoundFormat format, int64_t channels) {
    if (format == SoundFormat::raw) {
        return std::make_unique<RawIn>(path, channels);
    }
#ifdef SEQMIX_CLI_SNDFILE
    return std::make_unique<FileIn>(path, channels);
#else
    no_sound_files(path);
#endif
}

std::unique_ptr<SoundOut> create_sound(const std::string& path, SoundFormat format,
                                       [[maybe_unused]] int64_t channels,
                                       [[maybe_unused]] double rate) {
    if (format == SoundFormat::raw) {
        return std::make_unique<RawOut>(path, channels);
    }
#ifdef SEQMIX_CLI_SNDFILE
    return std::make_unique<FileOut>(path, channels, rate);
#else
    no_sound_files(path);
#endif
}

}  // namespace seqmix_cli
