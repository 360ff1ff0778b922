#include "runtime/context.h"

#include <cstdlib>
#include <iterator>
#include <string>

#include "capi/wall.h"
#include "runtime/options.h"

using namespace seqmix;

namespace {

// A number of threads from the environment; other text is ignored.
int32_t threads_from(const char* text, int32_t otherwise) {
    int32_t value = 0;
    for (; text != nullptr && *text >= '0' && *text <= '9' && value < 10000; ++text) {
        value = value * 10 + (*text - '0');
    }
    return value > 0 ? value : otherwise;
}

Status check_options(const seqmix_context_options& options) {
    if ((options.alloc == nullptr) != (options.free == nullptr)) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT,
                    "context: alloc and free, expected both or neither");
    }
    if (options.threads < 0 || options.threads > 4096) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, "context: threads is ", options.threads,
                    ", expected 0 to 4096");
    }
    if (options.parallel_for != nullptr &&
        (options.parallel_workers < 1 || options.parallel_workers > 4096)) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, "context: parallel_workers is ",
                    options.parallel_workers, ", expected 1 to 4096");
    }
    // Before 1.0 every minor version is an ABI of its own.
    if (options.version != 0 && (options.version >> 8) != (SEQMIX_VERSION >> 8)) {
        return fail(SEQMIX_ERR_VERSION, "context: the caller was compiled against version ",
                    options.version >> 16, ".", (options.version >> 8) & 0xff, ", this library is ",
                    SEQMIX_VERSION_MAJOR, ".", SEQMIX_VERSION_MINOR);
    }
    return Status();
}

Status choose_isa(const char* name, Isa* isa) {
    *isa = best_isa();
    if (name == nullptr || *name == '\0') {
        return Status();
    }
    if (!parse_isa(name, isa)) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, "context: isa '", name,
                    "', expected reference, generic, avx2 or avx512");
    }
    if (!isa_available(*isa)) {
        return fail(SEQMIX_ERR_UNSUPPORTED_CPU, "context: isa '", name,
                    "' is not in this build or not on this CPU");
    }
    return Status();
}

Status choose_format(const char* name, WeightFormat* format) {
    const std::string_view text = name == nullptr ? kWeightFormats[0] : name;
    for (size_t i = 0; i < std::size(kWeightFormats); ++i) {
        if (text == kWeightFormats[i]) {
            *format = static_cast<WeightFormat>(i);
            return Status();
        }
    }
    return fail(SEQMIX_ERR_INVALID_ARGUMENT, "context: weights '", text,
                "', expected stored, bf16 or int8");
}

Status create(const seqmix_context_options* given, seqmix_context** out) {
    seqmix_context_options options{};
    SEQMIX_TRY(read_options(given, "seqmix_context_options", &options));
    SEQMIX_TRY(check_options(options));
    const char* isa_text = options.isa;
    if (options.allow_env != 0) {
        if (const char* text = std::getenv("SEQMIX_ISA")) {
            isa_text = text;
        }
        options.threads = threads_from(std::getenv("SEQMIX_THREADS"), options.threads);
    }
    Isa isa{};
    SEQMIX_TRY(choose_isa(isa_text, &isa));
    WeightFormat format{};
    SEQMIX_TRY(choose_format(options.weights, &format));
    const Allocator allocator{options.alloc, options.free, options.alloc_user};
    seqmix_context* context = nullptr;
    if (options.parallel_for != nullptr) {
        context = allocator.create<seqmix_context>(isa, allocator, options.parallel_for,
                                                   options.parallel_user, options.parallel_workers);
    } else {
        const int32_t threads = options.threads == 0 ? cpu_count() : options.threads;
        context = allocator.create<seqmix_context>(isa, allocator, threads);
    }
    context->format = format;
    context->log_fn = options.log;
    context->log_user = options.log_user;
    context->log(SEQMIX_LOG_INFO, isa_name(isa));
    *out = context;
    return Status();
}

}  // namespace

seqmix_status seqmix_context_create(const seqmix_context_options* options,
                                    seqmix_context** context) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_context_create", context);
        return create(options, context);
    });
}

seqmix_context* seqmix_context_retain(seqmix_context* context) noexcept {
    return Ref<seqmix_context>::share(context).detach();
}

void seqmix_context_release(seqmix_context* context) noexcept {
    Ref<seqmix_context>::release(context);
}

seqmix_status seqmix_context_info(const seqmix_context* context, char* buf, size_t cap,
                                  size_t* needed) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_context_info", context);
        SEQMIX_REQUIRE("seqmix_context_info", needed);
        std::string text = "{\"isa\":\"" + std::string(isa_name(context->isa)) +
                           "\",\"isa_available\":[\"reference\",\"generic\"";
        for (const Isa isa : {Isa::avx2, Isa::avx512}) {
            if (isa_available(isa)) {
                text += ",\"" + std::string(isa_name(isa)) + "\"";
            }
        }
        text += "],\"weights\":\"" +
                std::string(kWeightFormats[static_cast<size_t>(context->format)]) + "\"";
        if (context->format != WeightFormat::stored) {
            text +=
                std::string(",\"rounding\":\"") + rounding_name(best_rounding(context->isa)) + "\"";
        }
        text += ",\"threads\":" + std::to_string(context->executor.workers()) + ",\"executor\":\"" +
                (context->executor.is_host() ? "host" : "own") + "\"}";
        return copy_text("seqmix_context_info", text, buf, cap, needed);
    });
}
