#include "models/stack.h"

#include <algorithm>
#include <cstring>

#include "contract/recurrent.h"

namespace seqmix {
namespace mixers {

#define SEQMIX_MIXER(type, folder) extern const Mixer type##_mixer;
#include "models/models.inc"
#undef SEQMIX_MIXER

namespace {

enum : int32_t { kTokens = 0, kX = 1, kEmbeds = 2, kLogits = 3, kLogitsLast = 4, kHidden = 5 };
enum : int32_t { kChildX = 0, kChildY = 1 };  // of every type of child
constexpr int64_t kChildSlots = 100;          // Plan::slot_limit of a child's call tensors is below

constexpr SlotSpec kSlots[] = {
    {kTokens, "tokens", Role::input, true, kI32 | kI64, "(B,T)", "token ids", "V"},
    {kX, "x", Role::input, true, kReal, "(B,T,I)", "input of the encoder"},
    {kEmbeds, "embeds", Role::input, true, kReal, "(B,T,D)", "enters after the embedding"},
    {kLogits, "logits", Role::output, true, kSingle, "(B,T,V)|(R,V)",
     "the head's output; (R,V) where the model pools over time", nullptr, true},
    {kLogitsLast, "logits_last", Role::output, true, kSingle, "(R,V)",
     "logits at each row's last true token; zeros for a row without tokens", nullptr, true},
    {kHidden, "hidden", Role::output, true, kReal, "(B,T,D)", "what the last layer gives the head"},
};
constexpr Schema kSchema = {
    "stack", "A model: embedding or encoder, blocks, norm, pool, head; made by seqmix_layer_open",
    "",      false,
    {},      kSlots,
    {},      {.stateful = true},
    512,
};

struct StackPlan : Plan {
    int64_t D = 0;
    // Children by role; -1 = none.
    int32_t first = -1, norm = -1, pool = -1, head = -1;
    std::vector<int32_t> blocks;
    std::vector<std::shared_ptr<const LayerCore>> children;
};

struct StackBound : Bound {
    const StackPlan* plan;
};

Status describe(const Attributes&, std::unique_ptr<Plan>&) {
    return fail(SEQMIX_ERR_UNSUPPORTED, kSchema.type,
                ": a stack is made from a checkpoint by seqmix_layer_open, not planned");
}

Status bind(const BindCall&, std::unique_ptr<Bound>&) {
    return fail(SEQMIX_ERR_UNSUPPORTED, kSchema.type, ": a stack's weights come with its file");
}

size_t element(bool real64) { return real64 ? sizeof(double) : sizeof(float); }

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const StackPlan&>(base);
    const auto rows = [&](int64_t n) {
        return Scratch::round_up(static_cast<size_t>(n * plan.D) * element(step.real64));
    };
    size_t most = 0;
    for (const auto& child : plan.children) {
        most = std::max(most, child->mixer().scratch(*child->plan, step));
    }
    return Scratch::round_up(static_cast<size_t>(kChildSlots) * sizeof(Matrix)) +
           2 * rows(step.tokens) + 2 * rows(step.rows) +
           Scratch::round_up(static_cast<size_t>(step.rows) * sizeof(int64_t)) + most;
}

// One step through the children.
template <class T>
class StackStep {
  public:
    StackStep(const StackBound& bound, const Call& call)
        : plan_(*bound.plan), call_(call), scratch_(call.scratch) {
        slots_ = scratch_.take<Matrix>(kChildSlots);
        std::fill_n(slots_, kChildSlots, Matrix{});
        for (T*& buffer : buffers_) {
            buffer = scratch_.take<T>(call.tokens * plan_.D);
        }
        for (T*& buffer : gathered_) {
            buffer = scratch_.take<T>(call.rows * plan_.D);
        }
        ended_ = scratch_.take<int64_t>(call.rows);
    }

    void run() {
        Matrix h = first();
        for (const int32_t i : plan_.blocks) {
            h = child(i, h, spare(h));
        }
        if (plan_.pool >= 0) {
            return pooled(h);
        }
        const Matrix &logits = call_.slot(kLogits), &last = call_.slot(kLogitsLast),
                     &hidden = call_.slot(kHidden);
        if (hidden || logits) {
            const Matrix normed = norm(h, hidden ? hidden : spare(h), hidden.data != nullptr);
            if (logits) {
                child(plan_.head, normed, logits);
            }
        }
        if (last) {
            last_rows(h, last);
        }
    }

  private:
    // Runs child i over `tokens` packed tokens (all of the step by default).
    Matrix child(int32_t i, const Matrix& x, const Matrix& y, int64_t tokens = -1) {
        const LayerCore& core = *plan_.children[static_cast<size_t>(i)];
        Call call = call_;
        call.tokens = tokens < 0 ? call_.tokens : tokens;
        call.slots = slots_;
        call.scratch = scratch_;
        call.states = nullptr;
        call.positions = nullptr;
        if (call_.leaves != nullptr) {
            call.states = call_.leaves[i].states;
            call.positions = call_.leaves[i].positions;
        }
        slots_[kChildX] = x;
        slots_[kChildY] = y;
        const Mixer& mixer = core.mixer();
        (std::is_same_v<T, double> ? mixer.run_reference : mixer.run)(*core.bound, call);
        return y;
    }

    Matrix first() {
        if (call_.slot(kEmbeds)) {
            return call_.slot(kEmbeds);
        }
        const Matrix& in = call_.slot(kTokens) ? call_.slot(kTokens) : call_.slot(kX);
        return child(plan_.first, in, {buffers_[0], plan_.D, 0});
    }

    // The activation buffer that `h` is not in.
    Matrix spare(const Matrix& h) const {
        return {h.data == buffers_[0] ? buffers_[1] : buffers_[0], plan_.D, 0};
    }

    // The last norm, or a copy where there is none and the caller asked for it.
    Matrix norm(const Matrix& h, const Matrix& to, bool must_write) {
        if (plan_.norm >= 0) {
            return child(plan_.norm, h, to);
        }
        if (!must_write) {
            return h;
        }
        for (int64_t t = 0; t < call_.tokens; ++t) {
            std::memcpy(to.as<T>() + t * to.stride, h.as<T>() + t * h.stride,
                        static_cast<size_t>(plan_.D) * sizeof(T));
        }
        return to;
    }

    // Calls fn(first, count) for runs of consecutive call rows among the first `count` of ended_.
    template <class Fn>
    void for_consecutive(int64_t count, Fn&& fn) {
        for (int64_t i = 0; i < count;) {
            int64_t n = 1;
            while (i + n < count && ended_[i + n] == ended_[i] + n) {
                ++n;
            }
            fn(i, n);
            i += n;
        }
    }

    void last_rows(const Matrix& h, const Matrix& out) {
        int64_t count = 0;
        for (int64_t s = 0; s < call_.segment_count; ++s) {
            const Segment& segment = call_.segments[s];
            if (segment.last) {
                std::memcpy(gathered_[0] + count * plan_.D,
                            h.as<T>() + (segment.first + segment.count - 1) * h.stride,
                            static_cast<size_t>(plan_.D) * sizeof(T));
                ended_[count] = segment.row;
                ++count;
            }
        }
        Matrix x{gathered_[0], plan_.D, 0};
        if (count > 0 && plan_.norm >= 0) {
            x = child(plan_.norm, x, {gathered_[1], plan_.D, 0}, count);
        }
        for_consecutive(count, [&](int64_t i, int64_t n) {
            child(plan_.head, {x.as<T>() + i * plan_.D, plan_.D, 0},
                  {out.as<T>() + ended_[i] * out.stride, out.stride, 0}, n);
        });
    }

    void pooled(Matrix h) {
        const Matrix &logits = call_.slot(kLogits), &hidden = call_.slot(kHidden);
        h = norm(h, hidden ? hidden : spare(h), hidden.data != nullptr);
        // The pool is recurrent: it runs whether or not its output is wanted.
        const Matrix pool{gathered_[0], plan_.D, 0};
        child(plan_.pool, h, pool);
        for (int64_t s = 0; logits && s < call_.segment_count; ++s) {
            const Segment& segment = call_.segments[s];
            if (segment.last) {
                child(plan_.head, {gathered_[0] + segment.row * plan_.D, plan_.D, 0},
                      {logits.as<T>() + segment.row * logits.stride, logits.stride, 0}, 1);
            }
        }
    }

    const StackPlan& plan_;
    const Call& call_;
    Scratch scratch_;
    Matrix* slots_;
    T* buffers_[2];
    T* gathered_[2];
    int64_t* ended_;  // call rows whose last token is in this step
};

void run(const Bound& bound, const Call& call) {
    StackStep<float>(static_cast<const StackBound&>(bound), call).run();
}

void run_reference(const Bound& bound, const Call& call) {
    StackStep<double>(static_cast<const StackBound&>(bound), call).run();
}

Status check(const Plan&, const DType* given) {
    int inputs = 0;
    for (const int32_t slot : {kTokens, kX, kEmbeds}) {
        inputs += given[slot] == DType::unknown ? 0 : 1;
    }
    if (inputs == 1) {
        return Status();
    }
    return fail(inputs == 0 ? SEQMIX_ERR_MISSING_TENSOR : SEQMIX_ERR_INVALID_ARGUMENT, kSchema.type,
                ": ", inputs, " of the inputs tokens, x and embeds, expected one");
}

}  // namespace

extern const Mixer stack_mixer;
const Mixer stack_mixer = {&kSchema,      describe, bind,    scratch, run,
                           run_reference, nullptr,  nullptr, nullptr, check};

}  // namespace mixers

namespace {

#define SEQMIX_MIXER(type, folder) &mixers::type##_mixer,
constexpr const Mixer* kTypes[] = {
#include "models/models.inc"
};
#undef SEQMIX_MIXER

int64_t attribute(const StackSpec& spec, const char* name) {
    const AttributeValue* value = spec.attributes.find(name);
    const auto* number = value == nullptr ? nullptr : std::get_if<int64_t>(value);
    return number == nullptr ? 0 : *number;
}

}  // namespace

std::span<const Mixer* const> model_types() { return kTypes; }

const Mixer* find_model_type(std::string_view type) {
    for (const Mixer* mixer : kTypes) {
        if (type == mixer->schema->type) {
            return mixer;
        }
    }
    return nullptr;
}

Status make_stack(const StackSpec& spec, std::vector<std::shared_ptr<const LayerCore>> children,
                  std::string missing, Isa isa, std::shared_ptr<const LayerCore>* out) {
    auto plan = std::make_unique<mixers::StackPlan>();
    plan->mixer = &mixers::stack_mixer;
    plan->attributes = spec.attributes;
    bool stateful = false, causal = true, constant = true;
    int64_t chunk = 1;
    for (size_t i = 0; i < children.size(); ++i) {
        const std::string& role = children[i]->role;
        const auto index = static_cast<int32_t>(i);
        if (role == "block" || role == "positions") {
            plan->blocks.push_back(index);
        } else {
            (role == "norm"   ? plan->norm
             : role == "pool" ? plan->pool
             : role == "head" ? plan->head
                              : plan->first) = index;
        }
        stateful = stateful || children[i]->stateful();
        causal = causal && children[i]->plan->capabilities.causal;
        constant = constant && children[i]->plan->capabilities.constant_state;
        chunk = std::max(chunk, children[i]->plan->chunk);
        const int64_t limit = children[i]->plan->max_tokens;
        if (limit > 0 && (plan->max_tokens == 0 || limit < plan->max_tokens)) {
            plan->max_tokens = limit;
        }
    }
    const auto child = [&](int32_t index) {
        return index < 0 ? nullptr : children[static_cast<size_t>(index)].get();
    };
    const LayerCore *first = child(plan->first), *head = child(plan->head);
    if (head == nullptr && plan->pool >= 0) {
        return fail(SEQMIX_ERR_INTERNAL, "stack: a pool and no head");
    }
    plan->D = attribute(spec, "d_model");
    plan->sizes = {{"V", head == nullptr ? plan->D : head->plan->sizes.at("O")},
                   {"D", plan->D},
                   {"I", attribute(spec, "d_input")}};
    SEQMIX_TRY(resolve_slots(mixers::kSchema, *plan));
    // A file of blocks alone takes and gives what is between blocks.
    if (first == nullptr || first->role == "embedding") {
        remove_slot(*plan, "x");
    }
    if (first == nullptr || first->role != "embedding") {
        remove_slot(*plan, "tokens");
    }
    Slot* logits = plan->find("logits");
    const bool pools = plan->pool >= 0;
    logits->shape_text = pools ? "(R,V)" : "(B,T,V)";
    logits->shapes.erase(logits->shapes.begin() + (pools ? 0 : 1));
    if (pools || head == nullptr) {
        remove_slot(*plan, "logits_last");
    }
    if (head == nullptr) {
        remove_slot(*plan, "logits");
    }
    plan->capabilities.stateful = stateful;
    plan->capabilities.causal = causal;
    plan->capabilities.constant_state = constant;
    plan->chunk = chunk;
    plan->children = children;

    auto core = std::make_shared<LayerCore>();
    core->children = std::move(children);
    core->missing = std::move(missing);
    if (core->missing.empty()) {
        auto bound = std::make_unique<mixers::StackBound>();
        bound->plan = plan.get();
        bound->kernel_name = SEQMIX_KERNEL_NAME("stack", isa);
        core->bound = std::move(bound);
    }
    set_plan(core.get(), std::move(plan), isa == Isa::reference);
    *out = std::move(core);
    return Status();
}

}  // namespace seqmix
