// The complex diagonal recurrence with real input and output, and feedback of low rank:
//
//   x_n <- a_n x_n + b_n u + sum_r g_rn v_r,    v_r = Re sum_n w_rn x_n  (of the state before)
//   y_o  = Re sum_n c_on x_n + skip_o u
//
// Without feedback: S4D, DSS, H3's second SSM (Gu et al. 2022, S4D, equation 3). With it: the DPLR
// step of S4. With D = (2/dt - lambda)^-1 the bilinear discretisation of diag(lambda) - P P* is, by
// Woodbury's identity, diag(4/dt D - 1) - 4/dt D P R^-1 P* D: one rank more for each column of P, and
// sums over both conjugate halves are twice the real part of one (Gu et al. 2022, S4, appendix C.3).
//
// a is kept as s + d, s = 1 or -1, d made in double: a alone rounds 1 - |a| away where the step is
// small (section 6 of S4D's long streams: 2.3e-5 of max|y| after 300,000 samples, with d 2.0e-6), and
// next to -1 likewise (fast modes under the bilinear rule).
//
// Lanes are channels, or modes where there are at most kFewChannels of them. Coefficients are packed in
// records, in the order in which a token needs them. f32; a channel's token has the same bits however
// the tokens are cut, and whatever other channels there are. Parallel over blocks of channels; scratch
// per worker. Nothing is read or written beyond the last channel.
#pragma once

#include <complex>
#include <vector>

#include "base/memory.h"
#include "primitives/diagonal_scan/kernel.h"

namespace seqmix {

// Coefficients in double, dense: mode n of channel d is [d * modes + n].
struct DiagonalSystem {
    using Complex = std::complex<double>;
    int64_t channels = 0, modes = 0, outputs = 1;
    int32_t rank = 0;
    std::vector<Complex> a, b;  // (channels, modes)
    std::vector<Complex> c;     // (outputs, channels, modes)
    std::vector<Complex> w, g;  // (rank, channels, modes)
    std::vector<double> skip;   // (outputs, channels), or empty
    // a - 1 and a + 1, where they are known better than by subtraction; else empty.
    std::vector<Complex> a_minus_one, a_plus_one;
};

class DiagonalScan {
  public:
    static constexpr int64_t kFewChannels = 4;

    DiagonalScan() = default;
    DiagonalScan(const DiagonalSystem& system, const DiagonalScanKernels& kernels,
                 Allocator allocator);

    // Channels of a piece of work: none crosses a multiple of it.
    int64_t channel_block() const { return few_ ? 1 : width_; }
    // Floats that `run` needs, for any level.
    static int64_t scratch_floats(int64_t modes);

    struct Run {
        int64_t tokens;
        int64_t first, channels;  // at most channel_block(), from a multiple of it
        const float* u;           // (tokens, channels), at channel `first`
        ptrdiff_t u_stride;
        float* y;  // (tokens, outputs, channels), likewise
        ptrdiff_t y_stride, output_stride;
        bool add;
        float* x;  // (modes, 2, all channels), at channel `first`; in and out
        ptrdiff_t x_stride;
        float* scratch;
    };
    void run(const Run& run) const;

  private:
    const DiagonalScanKernels* kernels_ = nullptr;
    int64_t channels_ = 0, modes_ = 0, outputs_ = 1, width_ = 1;
    int32_t rank_ = 0;
    bool few_ = false, signs_ = false;
    int64_t record_floats_ = 0;  // of a piece
    Array<float> records_, skip_;
};

}  // namespace seqmix
