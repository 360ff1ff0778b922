// The leaky integrator, hot loop; compiled once per level, with the vocabulary of simd/vec.h.
//
// Lanes are channels, h stays in a register. A token's result depends on its inputs and on h alone,
// never on where the run was cut or on its neighbours in the block: every cut gives the same bits.
#include "mixers/_template/kernel.h"

#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// CHANGE: your loop. Includes: simd/*.h and kernel.h only; no functions outside this file, no
// library calls (simd/math.h has exp, sigmoid, ...).
void integrate(const TemplateArgs& args) {
    for (int64_t c = 0; c < args.channels; c += kWidth) {
        const Mask lanes = first_n(args.channels - c);
        const Vec gain = load_m(args.gain + c, lanes);
        Vec h = load_m(args.h + c, lanes);
        for (int64_t t = 0; t < args.tokens; ++t) {
            h = fma(gain, load_m(args.x + t * args.x_stride + c, lanes) - h, h);
            store_m(args.y + t * args.y_stride + c, h, lanes);
        }
        store_m(args.h + c, h, lanes);
    }
}

}  // namespace

// The one symbol of this file.
extern const TemplateKernels template_kernels;
const TemplateKernels template_kernels = {64, integrate};

}  // namespace seqmix::SEQMIX_ISA
