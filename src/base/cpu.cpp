#include "base/cpu.h"

#include <thread>

#ifdef SEQMIX_HAVE_AVX512
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace seqmix {
#ifdef SEQMIX_HAVE_AVX512
namespace {

// AMX-TILE, AMX-BF16 and AMX-INT8, and that the operating system saves the tiles; compilers' own
// question is too new.
bool cpu_has_amx() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25,
                       kAll = kBf16 | kTile | kInt8;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kAll) != kAll) {
        return false;
    }
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned kTiles = 3u << 17;
    return (low & kTiles) == kTiles;
}

bool os_grants_amx() {
#ifdef __linux__
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
    return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

}  // namespace
#endif

bool isa_available(Isa isa) {
#if defined(SEQMIX_HAVE_AVX2) || defined(SEQMIX_HAVE_AVX512)
    // The builtins check xgetbv too: the operating system must save the registers.
    // Every CPU with AVX2 has F16C, which older compilers cannot ask for.
    [[maybe_unused]] const bool avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    switch (isa) {
        case Isa::reference:
        case Isa::generic: return true;
        case Isa::avx2:
#ifdef SEQMIX_HAVE_AVX2
            return avx2;
#else
            return false;
#endif
        case Isa::avx512:
#ifdef SEQMIX_HAVE_AVX512
            return avx2 && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
#else
            return false;
#endif
    }
    return false;
}

Isa best_isa() {
    for (const Isa isa : {Isa::avx512, Isa::avx2}) {
        if (isa_available(isa)) {
            return isa;
        }
    }
    return Isa::generic;
}

bool rounding_available(Rounding rounding) {
#ifdef SEQMIX_HAVE_AVX512
    const bool dot = isa_available(Isa::avx512) && __builtin_cpu_supports("avx512vnni") &&
                     __builtin_cpu_supports("avx512bf16");
    switch (rounding) {
        case Rounding::none: return true;
        case Rounding::dot: return dot;
        case Rounding::tiles: {
            static const bool tiles = dot && cpu_has_amx() && os_grants_amx();
            return tiles;
        }
    }
    return false;
#else
    return rounding == Rounding::none;
#endif
}

Rounding best_rounding(Isa isa) {
    if (isa == Isa::avx512) {
        for (const Rounding rounding : {Rounding::tiles, Rounding::dot}) {
            if (rounding_available(rounding)) {
                return rounding;
            }
        }
    }
    return Rounding::none;
}

bool bf16_rounding_pays(Rounding rounding) {
#ifdef SEQMIX_HAVE_AVX512
    return rounding == Rounding::tiles || (rounding == Rounding::dot && !__builtin_cpu_is("intel"));
#else
    (void)rounding;
    return false;
#endif
}

const char* rounding_name(Rounding rounding) {
    return rounding == Rounding::tiles ? "amx" : rounding == Rounding::dot ? "avx512_vnni" : "none";
}

int32_t cpu_count() {
    const unsigned count = std::thread::hardware_concurrency();
    return count == 0 ? 1 : static_cast<int32_t>(count);
}

}  // namespace seqmix
