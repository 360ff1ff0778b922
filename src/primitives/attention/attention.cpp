#include "primitives/attention/attention.h"

#include <algorithm>

#include "base/cpu.h"

namespace seqmix {

const AttentionKernels* rounding_attention_kernels(Isa isa) {
    const Rounding rounding = best_rounding(isa);
    return bf16_rounding_pays(rounding)
               ? SEQMIX_SELECT_ROUNDING_KERNELS(rounding, isa, attention_kernels)
               : SEQMIX_SELECT_KERNELS(isa, attention_kernels);
}

int64_t most_attention_scratch(int64_t dk, int64_t dv) {
    int64_t most = 0;
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        most = std::max(most,
                        attention_scratch(*SEQMIX_SELECT_KERNELS(isa, attention_kernels), dk, dv));
    }
    for (const Rounding rounding : {Rounding::dot, Rounding::tiles}) {
        most = std::max(most, attention_scratch(*SEQMIX_SELECT_ROUNDING_KERNELS(
                                                    rounding, Isa::generic, attention_kernels),
                                                dk, dv));
    }
    return most;
}

}  // namespace seqmix
