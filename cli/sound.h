// Samples in and out by blocks: raw 32-bit floats (native order, channels interleaved), or sound files
// where the program was built with libsndfile. All failures are kCannotRead.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace seqmix_cli {

enum class SoundFormat : uint8_t { raw, file };

// By a name's end: .wav, .flac, .aiff, .aif, .w64, .ogg are sound files.
SoundFormat sound_format(const std::string& path);

class SoundIn {
  public:
    virtual ~SoundIn() = default;
    // Up to `frames` frames of `channels` values each; fewer only at the end.
    virtual int64_t read(float* values, int64_t frames) = 0;
    virtual double rate() const = 0;  // frames per second; 0: not known
};

class SoundOut {
  public:
    virtual ~SoundOut() = default;
    virtual void write(const float* values, int64_t frames) = 0;
    virtual void finish() = 0;
};

// "-" is stdin. A sound file must have `channels` channels.
std::unique_ptr<SoundIn> open_sound(const std::string& path, SoundFormat format, int64_t channels);
// "-" is stdout, raw only. `rate` is for sound files, which are written as 32-bit float WAV.
std::unique_ptr<SoundOut> create_sound(const std::string& path, SoundFormat format,
                                       int64_t channels, double rate);

}  // namespace seqmix_cli
