// What every command of the program shares: exit codes, the one error type, owning handles, the
// arguments of a forward call, interruption and progress.
//
// The program is a client like any other: of the library it includes seqmix/seqmix.h only.
#pragma once

#include <seqmix/seqmix.h>

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace seqmix_cli {

using Json = nlohmann::ordered_json;

// The exit codes that the manual promises.
enum ExitCode : int {
    kOk = 0,
    kCheckFailed = 1,   // selftest beyond its tolerance, state diff found a difference
    kUsage = 2,         // the command line makes no sense
    kCannotRead = 3,    // a model or file cannot be read or written, or does not fit
    kFailed = 4,        // another failure of the library
    kInterrupted = 130  // SIGINT
};

// Ends a command: main prints `seqmix: <message>` and exits with `code`.
class Failure : public std::runtime_error {
  public:
    Failure(int exit_code, const std::string& message)
        : std::runtime_error(message), code(exit_code) {}
    int code;
};

// Throws the library's own message, after `subject` (a file name) where there is one, unless
// status is success. A cancelled call is always kInterrupted; running out of memory and defects of
// the library are always kFailed.
void check(seqmix_status status, int exit_code = kFailed, const std::string& subject = {});

// ------------------------------------------------------------------ handles

template <auto release>
struct Releaser {
    template <class T>
    void operator()(T* handle) const {
        release(handle);
    }
};

using Context = std::unique_ptr<seqmix_context, Releaser<seqmix_context_release>>;
using Config = std::unique_ptr<seqmix_config, Releaser<seqmix_config_destroy>>;
using Layer = std::unique_ptr<seqmix_layer, Releaser<seqmix_layer_release>>;
using State = std::unique_ptr<seqmix_state, Releaser<seqmix_state_destroy>>;

// Owns what `call(&pointer)` makes: make<State>([&](auto** s) { return seqmix_state_create(...); }).
template <class Handle, class Call>
Handle make(Call call, int exit_code = kFailed, const std::string& subject = {}) {
    typename Handle::pointer raw = nullptr;
    check(call(&raw), exit_code, subject);
    return Handle(raw);
}

// ------------------------------------------------------------------ arguments of a call

inline constexpr seqmix_dtype kF32{SEQMIX_DL_FLOAT, 32, 1};
inline constexpr seqmix_dtype kF64{SEQMIX_DL_FLOAT, 64, 1};
inline constexpr seqmix_dtype kI32{SEQMIX_DL_INT, 32, 1};
inline constexpr seqmix_dtype kI64{SEQMIX_DL_INT, 64, 1};

// A contiguous view of the caller's memory. Stays where it is: the C struct points into it.
class Tensor {
  public:
    Tensor(void* data, seqmix_dtype dtype, std::vector<int64_t> shape);
    Tensor(const Tensor&) = delete;
    Tensor& operator=(const Tensor&) = delete;
    const seqmix_tensor* get() const { return &view_; }

  private:
    std::vector<int64_t> shape_;
    seqmix_tensor view_;
};

class Args {
  public:
    void add(int32_t slot, const void* data, seqmix_dtype dtype, std::vector<int64_t> shape,
             int32_t index = 0);
    const seqmix_arg* data() const { return args_.data(); }
    size_t size() const { return args_.size(); }

  private:
    std::deque<Tensor> tensors_;
    std::vector<seqmix_arg> args_;
};

// Slot i of a layer, and the slot of that name (a null name where there is none).
seqmix_slot_info slot_info(const seqmix_layer* layer, size_t i);
seqmix_slot_info find_slot(const seqmix_layer* layer, const char* name);
int64_t slot_width(const seqmix_slot_info& slot);  // the last size of its shape

// ------------------------------------------------------------------ interruption and progress

// The first SIGINT makes interrupted() true; the second one kills as usual.
void watch_interrupts();
bool interrupted();
void throw_if_interrupted();

// A line on stderr that shows how far long work is, on a terminal only; it also passes an
// interruption on to the library. options() goes to one forward call after the other;
// `done` counts what the earlier calls finished.
class Progress {
  public:
    Progress(std::string label, uint64_t total);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    const seqmix_forward_options* options() const { return &options_; }
    void advance(uint64_t tokens);

  private:
    static int32_t poll(void* self, uint64_t done, uint64_t total);
    void show(uint64_t done);

    std::string label_;
    uint64_t total_;
    uint64_t done_ = 0;
    bool terminal_;
    bool drawn_ = false;
    double shown_at_ = 0;
    seqmix_forward_options options_{};
};

double now();  // seconds, monotonic
double median(std::vector<double> values);

// ------------------------------------------------------------------ output

// One JSON object and a newline on stdout; bytes that are not UTF-8 are replaced.
void print_json(const Json& object);
// Throws unless everything written to stdout has arrived.
void flush_stdout();
// Bytes that a text, which is not empty, begins with: a character of UTF-8 (whole), what could become
// one (unfinished), or what can be part of none (neither): then the longest beginning that some
// character has, as Unicode recommends to replace it.
struct Utf8Head {
    size_t size;
    uint32_t code;  // of a whole one
    bool whole, unfinished;
};
Utf8Head utf8_head(std::string_view text);

// A name out of a file, safe to print: control characters, what breaks or reverses a line, and bytes
// that are not UTF-8 as \x0a, \x1b, \u202e.
std::string printable(std::string_view text);
std::string human_bytes(uint64_t bytes);
std::string human_count(uint64_t count);  // 732544 -> "732,544"

}  // namespace seqmix_cli
