#include "common.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace seqmix_cli {

void check(seqmix_status status, int exit_code, const std::string& subject) {
    if (status == SEQMIX_OK) {
        return;
    }
    if (status == SEQMIX_ERR_CANCELLED) {
        throw Failure(kInterrupted, "interrupted");
    }
    if (status == SEQMIX_ERR_NO_MEMORY || status == SEQMIX_ERR_INTERNAL) {
        exit_code = kFailed;
    }
    std::string message = seqmix_last_error();
    if (message.empty()) {
        message = seqmix_status_name(status);
    }
    // Messages about files often start with the name already.
    if (!subject.empty() && message.find(subject) == std::string::npos) {
        message = subject + ": " + message;
    }
    throw Failure(exit_code, message);
}

// ------------------------------------------------------------------ arguments of a call

Tensor::Tensor(void* data, seqmix_dtype dtype, std::vector<int64_t> shape)
    : shape_(std::move(shape)), view_{data,
                                      {SEQMIX_DL_CPU, 0},
                                      static_cast<int32_t>(shape_.size()),
                                      dtype,
                                      shape_.data(),
                                      nullptr,
                                      0} {}

void Args::add(int32_t slot, const void* data, seqmix_dtype dtype, std::vector<int64_t> shape,
               int32_t index) {
    // The library writes through outputs only, so a const input may pass as void*.
    tensors_.emplace_back(const_cast<void*>(data), dtype, std::move(shape));
    args_.push_back({slot, index, 0, 0, tensors_.back().get()});
}

seqmix_slot_info slot_info(const seqmix_layer* layer, size_t i) {
    seqmix_slot_info info{};
    info.struct_size = sizeof info;
    check(seqmix_layer_slot_info(layer, i, &info));
    return info;
}

seqmix_slot_info find_slot(const seqmix_layer* layer, const char* name) {
    const size_t count = seqmix_layer_slot_count(layer);
    for (size_t i = 0; i < count; ++i) {
        const seqmix_slot_info info = slot_info(layer, i);
        if (std::strcmp(info.name, name) == 0) {
            return info;
        }
    }
    return {};
}

int64_t slot_width(const seqmix_slot_info& slot) {
    return slot.ndim > 0 ? slot.shape[slot.ndim - 1] : 1;
}

// ------------------------------------------------------------------ interruption and progress

namespace {

volatile std::sig_atomic_t interrupt_seen = 0;

extern "C" void on_interrupt(int) { interrupt_seen = 1; }

}  // namespace

void watch_interrupts() {
    struct sigaction action {};
    action.sa_handler = on_interrupt;
    sigemptyset(&action.sa_mask);
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

void throw_if_interrupted() {
    if (interrupted()) {
        throw Failure(kInterrupted, "interrupted");
    }
}

Progress::Progress(std::string label, uint64_t total)
    : label_(std::move(label)), total_(total), terminal_(isatty(STDERR_FILENO) != 0) {
    options_.struct_size = sizeof options_;
    options_.poll = &Progress::poll;
    options_.poll_user = this;
    shown_at_ = now();  // nothing is drawn for work that ends at once
}

Progress::~Progress() {
    if (drawn_) {
        std::fputs("\r\033[K", stderr);
    }
}

void Progress::advance(uint64_t tokens) {
    done_ += tokens;
    show(done_);
}

int32_t Progress::poll(void* self, uint64_t done, uint64_t) {
    auto* progress = static_cast<Progress*>(self);
    progress->show(progress->done_ + done);
    return interrupted() ? 1 : 0;
}

void Progress::show(uint64_t done) {
    constexpr double kInterval = 0.2;
    if (!terminal_ || now() - shown_at_ < kInterval) {
        return;
    }
    shown_at_ = now();
    drawn_ = true;
    const double percent =
        total_ == 0 ? 100.0 : 100.0 * static_cast<double>(done) / static_cast<double>(total_);
    std::fprintf(stderr, "\r\033[K%s: %s of %s tokens (%.0f %%)", label_.c_str(),
                 human_count(done).c_str(), human_count(total_).c_str(), percent);
    std::fflush(stderr);
}

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

double median(std::vector<double> values) {
    if (values.empty()) {
        return 0;
    }
    std::sort(values.begin(), values.end());
    const size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

// ------------------------------------------------------------------ output

void print_json(const Json& object) {
    const std::string text = object.dump(-1, ' ', false, Json::error_handler_t::replace);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
    flush_stdout();
}

void flush_stdout() {
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        throw Failure(kCannotRead, std::string("cannot write the output: ") + std::strerror(errno));
    }
}

Utf8Head utf8_head(std::string_view text) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) {
        return {1, lead, true, false};
    }
    const size_t size = lead >= 0xc2 && lead <= 0xdf   ? 2
                        : lead >= 0xe0 && lead <= 0xef ? 3
                        : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                       : 0;
    uint32_t code = lead & (0x7fu >> size);
    for (size_t i = 1; i < size; ++i) {
        if (i == text.size()) {
            return {i, 0, false, true};
        }
        // The second byte keeps out long forms, surrogates and what is beyond U+10FFFF.
        const unsigned char low = i > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        const unsigned char high = i > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (byte(i) < low || byte(i) > high) {
            return {i, 0, false, false};
        }
        code = code << 6 | (byte(i) & 0x3fu);
    }
    return size == 0 ? Utf8Head{1, 0, false, false} : Utf8Head{size, code, true, false};
}

std::string printable(std::string_view text) {
    std::string shown;
    while (!text.empty()) {
        const Utf8Head head = utf8_head(text);
        const uint32_t code = head.code;
        char escape[16] = "";
        if (!head.whole || code < 0x20 || code == 0x7f) {
            std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(text[0]));
        } else if ((code >= 0x80 && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) ||
                   (code >= 0x2066 && code <= 0x2069)) {
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(code));
        }
        const size_t taken = head.whole ? head.size : 1;
        shown += escape[0] != '\0' ? std::string_view(escape) : text.substr(0, taken);
        text.remove_prefix(taken);
    }
    return shown;
}

std::string human_bytes(uint64_t bytes) {
    if (bytes < 10'000) {
        return std::to_string(bytes) + " B";
    }
    double value = static_cast<double>(bytes);
    size_t unit = 0;
    constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
    while (value >= 1000 && unit + 1 < std::size(kUnits)) {
        value /= 1000;
        ++unit;
    }
    char text[32];
    std::snprintf(text, sizeof text, value < 100 ? "%.2f %s" : "%.1f %s", value, kUnits[unit]);
    return text;
}

std::string human_count(uint64_t count) {
    std::string text = std::to_string(count);
    for (size_t at = text.size(); at > 3;) {
        at -= 3;
        text.insert(at, ",");
    }
    return text;
}

}  // namespace seqmix_cli
