// FFTW as a peer of the long convolutions, loaded at run time from the file that SEQMIX_FFTW names:
// neither the library nor the benches link it. Single precision, plans by FFTW_MEASURE.
#pragma once

#include <cstdint>
#include <memory>

namespace seqmix::bench::plain {

// Causal convolutions of D channels, T inputs and T taps each, through real transforms of 2 T points
// (the least that FFTW likes), one channel after the other: dense channels are its best layout.
class FftwConvolution {
  public:
    // Null without the library. k: (D,T) dense.
    static std::unique_ptr<FftwConvolution> make(int64_t tokens, int64_t channels, const float* k,
                                                 int threads);
    virtual ~FftwConvolution() = default;
    // y = k * x; both (D,T), dense.
    virtual void run(const float* x, float* y) = 0;
};

// to (columns, rows) = from (rows, columns) transposed, in tiles.
void transpose(int64_t rows, int64_t columns, const float* from, float* to);

}  // namespace seqmix::bench::plain
