// Version, build and error text.
#include <string>

#include "base/isa.h"
#include "capi/wall.h"

#define SEQMIX_TEXT_(x) #x
#define SEQMIX_TEXT(x) SEQMIX_TEXT_(x)
#define SEQMIX_VERSION_TEXT           \
    SEQMIX_TEXT(SEQMIX_VERSION_MAJOR) \
    "." SEQMIX_TEXT(SEQMIX_VERSION_MINOR) "." SEQMIX_TEXT(SEQMIX_VERSION_PATCH)

#if defined(__clang__)
#define SEQMIX_COMPILER "clang " __clang_version__
#else
#define SEQMIX_COMPILER "g++ " __VERSION__
#endif
#ifdef SEQMIX_HAVE_AVX2
#define SEQMIX_AVX2_TEXT ",\"avx2\""
#else
#define SEQMIX_AVX2_TEXT ""
#endif
#ifdef SEQMIX_HAVE_AVX512
#define SEQMIX_AVX512_TEXT ",\"avx512\""
#else
#define SEQMIX_AVX512_TEXT ""
#endif
#ifdef SEQMIX_DEBUG
#define SEQMIX_DEBUG_TEXT "true"
#else
#define SEQMIX_DEBUG_TEXT "false"
#endif

uint32_t seqmix_version(void) noexcept { return SEQMIX_VERSION; }

const char* seqmix_version_string(void) noexcept { return SEQMIX_VERSION_TEXT; }

const char* seqmix_build_info(void) noexcept {
    return "{\"version\":\"" SEQMIX_VERSION_TEXT "\",\"compiler\":\"" SEQMIX_COMPILER
           "\",\"isa\":[\"reference\",\"generic\"" SEQMIX_AVX2_TEXT SEQMIX_AVX512_TEXT
           "],\"debug\":" SEQMIX_DEBUG_TEXT "}";
}

const char* seqmix_status_name(seqmix_status status) noexcept {
    return seqmix::status_name(status);
}

const char* seqmix_last_error(void) noexcept { return seqmix::error_text::get(); }
