/* Nothing that fails inside the library leaves it as an exception, leaks, or gives a wrong status.
 *
 *  - The context's allocator fails at its k-th call, for every k that a scenario makes: each call of
 *    the scenario gives OK or NO_MEMORY, and when all handles are gone no byte is left.
 *  - --new: the same with operator new failing (this program replaces it), for configs have no
 *    context, and parsing uses the standard library.
 *  - Executors that run serially or backwards give the same bits; one that fails gives CALLBACK and
 *    poisons the state, which reset heals.
 *
 * C++ so that an exception that did cross the boundary would be seen: the C functions are noexcept, so
 * it would end the program.
 *
 * usage: no_throw [--new] [--model PATH] */
#include "abi_test.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <new>
#include <string>
#include <vector>

namespace {

/* ------------------------------------------------------------------ memory that fails */

std::atomic<long> new_calls{0};
long new_fails_at = 0; /* 0: never */
thread_local bool inside_library = false;

struct Allocator {
    std::atomic<long> calls{0};
    std::atomic<long long> live_bytes{0};
    std::atomic<long> live_blocks{0};
    long fails_at = 0;
    bool wrong_size = false;
};

/* A header in front of each block remembers its size and alignment, to check what free is told. */
void* allocate(void* user, size_t size, size_t align) {
    auto& self = *static_cast<Allocator*>(user);
    if (++self.calls == self.fails_at) {
        return nullptr;
    }
    if (align == 0 || (align & (align - 1)) != 0) {
        self.wrong_size = true;
        return nullptr;
    }
    const size_t header = align < 32 ? 32 : align;
    const size_t total = (header + size + header - 1) / header * header;
    auto* raw = static_cast<unsigned char*>(aligned_alloc(header, total));
    if (raw == nullptr) {
        return nullptr;
    }
    memset(raw, 0xA5, total); /* nobody may count on zeros */
    auto* block = raw + header;
    reinterpret_cast<size_t*>(block)[-1] = size;
    reinterpret_cast<size_t*>(block)[-2] = align;
    self.live_bytes += static_cast<long long>(size);
    ++self.live_blocks;
    return block;
}

void release(void* user, void* ptr, size_t size, size_t align) {
    auto& self = *static_cast<Allocator*>(user);
    if (ptr == nullptr) {
        return;
    }
    auto* block = static_cast<unsigned char*>(ptr);
    if (reinterpret_cast<size_t*>(block)[-1] != size ||
        reinterpret_cast<size_t*>(block)[-2] != align) {
        self.wrong_size = true;
    }
    self.live_bytes -= static_cast<long long>(reinterpret_cast<size_t*>(block)[-1]);
    --self.live_blocks;
    const size_t header = align < 32 ? 32 : align;
    free(block - header);
}

/* ------------------------------------------------------------------ scenarios */

/* Runs library calls in order until one fails; NO_MEMORY is the only failure there may be. */
class Steps {
  public:
    bool operator()(const char* what, seqmix_status status) {
        inside_library = false;
        if (status == SEQMIX_OK) {
            return true;
        }
        failed = true;
        if (status != SEQMIX_ERR_NO_MEMORY) {
            printf("%s gave %s (%s) when memory ran out\n", what, seqmix_status_name(status),
                   seqmix_last_error());
            ++failures;
        } else if (seqmix_last_error()[0] == '\0') {
            printf("%s left no message\n", what);
            ++failures;
        }
        return false;
    }
    bool failed = false;
};

/* Memory fails only inside the library: not in this program's own code. */
#define STEP(call) (inside_library = true, steps(#call, (call)))

struct Scenario {
    const char* name;
    const char* type; /* nullptr: the model */
    std::string path;
    bool is_op;
};

seqmix_status configure(const Scenario& scenario, seqmix_config* config) {
    if (!scenario.is_op) {
        return seqmix_config_set_json(config, "{\"d_model\":8,\"d_state\":16}");
    }
    seqmix_status status = seqmix_config_set_i64(config, "d_inner", 4);
    if (status == SEQMIX_OK) {
        status = seqmix_config_set_i64(config, "d_state", 4);
    }
    return status;
}

/* Everything with memory in it, once. Returns whether all of it succeeded. */
bool run(const Scenario& scenario, Allocator& allocator) {
    Steps steps;
    seqmix_context* context = nullptr;
    seqmix_config* config = nullptr;
    seqmix_config* config_copy = nullptr;
    seqmix_layer* planned = nullptr;
    seqmix_layer* layer = nullptr;
    seqmix_layer* child = nullptr;
    seqmix_state* state = nullptr;
    seqmix_state* copy = nullptr;
    seqmix_state* view = nullptr;
    seqmix_state* loaded = nullptr;
    call* weights = nullptr;
    call* io = nullptr;
    text_call* text = nullptr;
    const char* json = nullptr;
    int64_t id = 0;

    seqmix_context_options options{};
    options.struct_size = sizeof options;
    options.version = SEQMIX_VERSION;
    options.threads = 2;
    options.alloc = allocate;
    options.free = release;
    options.alloc_user = &allocator;
    seqmix_state_options state_options{};
    state_options.struct_size = sizeof state_options;
    state_options.batch = 1;
    state_options.snapshot_slots = 1;

    bool ok = STEP(seqmix_context_create(&options, &context));
    if (ok && scenario.type == nullptr) {
        ok = STEP(seqmix_layer_open(context, scenario.path.c_str(), nullptr, &layer));
    } else if (ok) {
        ok = STEP(seqmix_config_create(&config)) && STEP(configure(scenario, config)) &&
             STEP(seqmix_config_clone(config, &config_copy)) &&
             STEP(seqmix_layer_plan(context, scenario.type, config_copy, &planned));
        if (ok && scenario.is_op) {
            ok = STEP(seqmix_layer_bind(planned, nullptr, 0, &layer));
        } else if (ok) {
            weights = call_make(planned, ROLES_WEIGHTS, 1, 1, 3);
            ok = STEP(seqmix_layer_init(planned, 1, weights->args, weights->n)) &&
                 STEP(seqmix_layer_bind(planned, weights->args, weights->n, &layer));
        }
    }
    ok = ok && STEP(seqmix_layer_info(layer, &json));
    const seqmix_arg* args = nullptr;
    size_t n = 0;
    if (ok && scenario.type == nullptr) {
        text = text_call_make(layer, 5, 1, 9);
        args = text->args;
        n = text->n;
    } else if (ok) {
        io = call_make(layer, scenario.is_op ? ROLES_OP_CALL : ROLES_CALL, 1, 5, 9);
        args = io->args;
        n = io->n;
    }
    if (ok && !scenario.is_op) {
        ok = STEP(seqmix_state_create(layer, &state_options, &state));
    }
    ok = ok &&
         STEP(seqmix_layer_forward(layer, state, args, n, nullptr)) /* unprepared: allocates */
         && STEP(seqmix_layer_prepare(layer, 2, 64, 2)) &&
         STEP(seqmix_layer_forward(layer, state, args, n, nullptr));
    if (ok && !scenario.is_op) {
        ok = STEP(seqmix_state_snapshot(state, -1, &id)) &&
             STEP(seqmix_state_clone(state, &copy)) &&
             STEP(seqmix_layer_forward(layer, copy, args, n, nullptr));
    }
    if (ok && !scenario.is_op) {
        size_t needed = 0;
        inside_library = true;
        const seqmix_status sized = seqmix_state_save(state, nullptr, 0, &needed);
        ok = steps("seqmix_state_save", sized == SEQMIX_ERR_BUFFER_TOO_SMALL ? SEQMIX_OK : sized);
        std::vector<unsigned char> blob(needed);
        ok = ok && STEP(seqmix_state_save(state, blob.data(), blob.size(), &needed)) &&
             STEP(seqmix_state_load(layer, blob.data(), blob.size(), &state_options, &loaded)) &&
             STEP(seqmix_layer_forward(layer, loaded, args, n, nullptr));
    }
    if (ok && scenario.type == nullptr) {
        ok =
            STEP(seqmix_layer_child(layer, 1, &child)) && STEP(seqmix_state_child(state, 1, &view));
    }
    inside_library = false;

    /* Released parents first: handles keep what they were made from. */
    seqmix_context_release(context);
    seqmix_layer_release(planned);
    seqmix_layer_release(layer);
    seqmix_layer_release(child);
    seqmix_config_destroy(config);
    seqmix_config_destroy(config_copy);
    seqmix_state_destroy(state);
    seqmix_state_destroy(view);
    seqmix_state_destroy(copy);
    seqmix_state_destroy(loaded);
    if (weights != nullptr) {
        call_free(weights);
    }
    if (io != nullptr) {
        call_free(io);
    }
    if (text != nullptr) {
        text_call_free(text);
    }
    CHECK(ok == !steps.failed);
    return ok;
}

void check_released(const Scenario& scenario, const char* which, long k,
                    const Allocator& allocator) {
    if (allocator.live_bytes != 0 || allocator.live_blocks != 0 || allocator.wrong_size) {
        printf("%s, %s %ld failing: %lld bytes in %ld blocks left%s\n", scenario.name, which, k,
               static_cast<long long>(allocator.live_bytes),
               static_cast<long>(allocator.live_blocks),
               allocator.wrong_size ? ", free told another size or alignment than alloc" : "");
        ++failures;
    }
}

void sweep(const Scenario& scenario) {
    Allocator whole;
    if (!run(scenario, whole)) {
        printf("%s fails without any injected failure\n", scenario.name);
        ++failures;
        return;
    }
    check_released(scenario, "allocation", 0, whole);
    if (whole.calls < 3) {
        printf("%s: the context's allocator was asked %ld times only\n", scenario.name,
               static_cast<long>(whole.calls));
        ++failures;
    }
    long refused = 0;
    for (long k = 1; k <= whole.calls && failures < 20; ++k) {
        Allocator allocator;
        allocator.fails_at = k;
        refused += run(scenario, allocator) ? 0 : 1;
        check_released(scenario, "allocation", k, allocator);
    }
    printf("%s: %ld allocations, %ld of them refused the call when they failed\n", scenario.name,
           static_cast<long>(whole.calls), refused);
    CHECK(refused > 0); /* all of them shrugged off: the failures were not injected */
}

/* The same with operator new. Each round in a process of its own, so that one that ends it is a failure
 * with a number and not the end of the test. */
void sweep_new(const Scenario& scenario) {
    long total = 0;
    {
        Allocator allocator;
        new_calls = 0;
        new_fails_at = -1; /* count */
        CHECK(run(scenario, allocator));
        new_fails_at = 0;
        total = new_calls;
    }
    CHECK(total > 0);
    /* All of them where there are hundreds; of thousands (parsing a model's header) every few. */
    const long stride = total <= 1000 ? 1 : total / 1000 + 1;
    long rounds = 0;
    long refused = 0;
    long ended = 0;
    for (long k = 1; k <= total; k += k > total - 100 ? 1 : stride) {
        ++rounds;
        fflush(stdout);
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            failures = 0;
            Allocator allocator;
            new_calls = 0;
            new_fails_at = k;
            const bool ok = run(scenario, allocator);
            new_fails_at = 0;
            check_released(scenario, "operator new", k, allocator);
            fflush(stdout);
            _exit(failures != 0 ? 1 : ok ? 0 : 2);
        }
        int how = 0;
        REQUIRE(waitpid(child, &how, 0) == child);
        if (!WIFEXITED(how)) {
            if (++ended <= 5) {
                printf("%s, operator new %ld failing: ended by signal %d\n", scenario.name, k,
                       WTERMSIG(how));
            }
            ++failures;
        } else {
            refused += WEXITSTATUS(how) == 2 ? 1 : 0;
            failures += WEXITSTATUS(how) == 1 ? 1 : 0;
        }
    }
    printf(
        "%s: %ld calls of operator new, %ld refused the call when they failed, %ld ended the "
        "process\n",
        scenario.name, total, refused, ended);
    CHECK(refused > 0);
}

/* ------------------------------------------------------------------ executors */

struct Executor {
    int mode; /* 0 forwards, 1 backwards, 2 fails having run nothing, 3 fails half way */
    long calls = 0;
};

int32_t execute(void* user, size_t n, seqmix_task_fn fn, void* arg) {
    auto& self = *static_cast<Executor*>(user);
    ++self.calls;
    switch (self.mode) {
        case 0:
            for (size_t i = 0; i < n; ++i) {
                fn(arg, i, i % 3); /* workers may change from piece to piece */
            }
            return 0;
        case 1:
            for (size_t i = n; i-- > 0;) {
                fn(arg, i, 0);
            }
            return 0;
        case 2: return 7;
        default:
            for (size_t i = 0; i < n / 2; ++i) {
                fn(arg, i, 0);
            }
            return -1;
    }
}

seqmix_context* context_with(Executor* executor) {
    seqmix_context_options options{};
    options.struct_size = sizeof options;
    options.version = SEQMIX_VERSION;
    options.threads = executor == nullptr ? 2 : 0;
    options.isa = "generic";
    if (executor != nullptr) {
        options.parallel_for = execute;
        options.parallel_user = executor;
        options.parallel_workers = 3;
    }
    seqmix_context* context = nullptr;
    REQUIRE_OK(seqmix_context_create(&options, &context));
    return context;
}

std::vector<float> mamba_outputs(Executor* executor, int64_t rows, int64_t tokens) {
    seqmix_context* context = context_with(executor);
    seqmix_layer* layer = nullptr;
    seqmix_state* state = nullptr;
    REQUIRE_OK(make_mamba(context, 64, &layer));
    seqmix_state_options options{};
    options.struct_size = sizeof options;
    options.batch = rows;
    REQUIRE_OK(seqmix_state_create(layer, &options, &state));
    call* io = call_make(layer, ROLES_CALL, rows, tokens, 5);
    REQUIRE_OK(seqmix_layer_forward(layer, state, io->args, io->n, nullptr));
    REQUIRE_OK(seqmix_layer_forward(layer, state, io->args, io->n, nullptr));
    array* y = call_array(io, "y");
    const auto* values = static_cast<const float*>(y->data);
    std::vector<float> out(values, values + y->bytes / sizeof(float));
    call_free(io);
    seqmix_state_destroy(state);
    seqmix_layer_release(layer);
    seqmix_context_release(context);
    return out;
}

void executors() {
    const std::vector<float> own_pool = mamba_outputs(nullptr, 2, 37);
    double magnitude = 0;
    for (const float value : own_pool) {
        magnitude += value < 0 ? -value : value;
    }
    CHECK(magnitude > 0);
    for (int mode = 0; mode <= 1; ++mode) {
        Executor executor{mode};
        const std::vector<float> out = mamba_outputs(&executor, 2, 37);
        CHECK(executor.calls > 0);
        CHECK(out.size() == own_pool.size() &&
              memcmp(out.data(), own_pool.data(), out.size() * sizeof(float)) == 0);
    }
    for (int mode = 2; mode <= 3; ++mode) {
        Executor executor{0};
        seqmix_context* context = context_with(&executor);
        seqmix_layer* layer = nullptr;
        seqmix_state* state = nullptr;
        seqmix_state* other = nullptr;
        REQUIRE_OK(make_mamba(context, 64, &layer));
        REQUIRE_OK(seqmix_state_create(layer, nullptr, &state));
        call* io = call_make(layer, ROLES_CALL, 1, 37, 5);
        executor.mode = mode;
        CHECK_STATUS(seqmix_layer_forward(layer, state, io->args, io->n, nullptr),
                     SEQMIX_ERR_CALLBACK);
        executor.mode = 0;
        CHECK_STATUS(seqmix_layer_forward(layer, state, io->args, io->n, nullptr),
                     SEQMIX_ERR_STATE_POISONED);
        size_t needed = 0;
        CHECK_STATUS(seqmix_state_save(state, nullptr, 0, &needed), SEQMIX_ERR_STATE_POISONED);
        /* The layer itself is fine: another state runs, and so does this one after a reset. */
        REQUIRE_OK(seqmix_state_create(layer, nullptr, &other));
        CHECK_STATUS(seqmix_layer_forward(layer, other, io->args, io->n, nullptr), SEQMIX_OK);
        array* y = call_array(io, "y");
        std::vector<unsigned char> expected(y->bytes);
        memcpy(expected.data(), y->data, y->bytes);
        CHECK_STATUS(seqmix_state_reset(state, -1), SEQMIX_OK);
        memset(y->data, 0, y->bytes);
        CHECK_STATUS(seqmix_layer_forward(layer, state, io->args, io->n, nullptr), SEQMIX_OK);
        CHECK(memcmp(expected.data(), y->data, y->bytes) == 0);
        call_free(io);
        seqmix_state_destroy(state);
        seqmix_state_destroy(other);
        seqmix_layer_release(layer);
        seqmix_context_release(context);
    }
}

}  // namespace

/* operator new of the whole program, the library's included where it is linked dynamically. */
static void* counted(size_t size, size_t align) {
    if (new_fails_at != 0 && inside_library) {
        if (++new_calls == new_fails_at) {
            return nullptr;
        }
    }
    size = size == 0 ? 1 : size;
    return align <= 16 ? malloc(size) : aligned_alloc(align, (size + align - 1) / align * align);
}
static void* counted_or_throw(size_t size, size_t align) {
    void* block = counted(size, align);
    if (block == nullptr) {
        throw std::bad_alloc();
    }
    return block;
}
void* operator new(size_t size) { return counted_or_throw(size, 16); }
void* operator new[](size_t size) { return counted_or_throw(size, 16); }
void* operator new(size_t size, std::align_val_t align) {
    return counted_or_throw(size, static_cast<size_t>(align));
}
void* operator new[](size_t size, std::align_val_t align) {
    return counted_or_throw(size, static_cast<size_t>(align));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return counted(size, 16); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return counted(size, 16); }
void* operator new(size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
    return counted(size, static_cast<size_t>(align));
}
void* operator new[](size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
    return counted(size, static_cast<size_t>(align));
}
void operator delete(void* block) noexcept { free(block); }
void operator delete[](void* block) noexcept { free(block); }
void operator delete(void* block, size_t) noexcept { free(block); }
void operator delete[](void* block, size_t) noexcept { free(block); }
void operator delete(void* block, std::align_val_t) noexcept { free(block); }
void operator delete[](void* block, std::align_val_t) noexcept { free(block); }
void operator delete(void* block, size_t, std::align_val_t) noexcept { free(block); }
void operator delete[](void* block, size_t, std::align_val_t) noexcept { free(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { free(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { free(block); }
void operator delete(void* block, std::align_val_t, const std::nothrow_t&) noexcept { free(block); }
void operator delete[](void* block, std::align_val_t, const std::nothrow_t&) noexcept {
    free(block);
}

int main(int argc, char** argv) {
    std::string model;
    bool heap = false;
    for (int i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--new") == 0) {
            heap = true;
        } else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc) {
            model = argv[++i];
        }
    }
    std::vector<Scenario> scenarios;
    if (model.empty()) {
        scenarios = {{"mamba", "mamba", "", false},
                     {"selective_scan_op", "selective_scan_op", "", true}};
    } else {
        scenarios = {{"model", nullptr, model, false}};
    }
    for (const Scenario& scenario : scenarios) {
        heap ? sweep_new(scenario) : sweep(scenario);
    }
    if (model.empty() && !heap) {
        executors();
    }
    return finish();
}
