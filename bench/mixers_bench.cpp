// Every registered type at its bench shapes (cases.cpp of its folder), at every level of this CPU.
// Rows are named <type>/<level>/<phase>/<shape>; phases: core, prefill, decode (one token, the
// state carried in place).
#include <benchmark/benchmark.h>

#include <cstdio>
#include <deque>
#include <exception>
#include <memory>

#include "models.h"
#include "plain/attention.h"
#include "plain/conv.h"
#include "plain/scan.h"
#include "support/rows.h"

namespace seqmix::mixers {
#define SEQMIX_MIXER(type, folder) extern const MixerCases type##_cases;
#include "mixers/mixers.inc"
#include "models/models.inc"
#undef SEQMIX_MIXER
}  // namespace seqmix::mixers

namespace seqmix::bench {

namespace {

using conformance::Buffer;
using conformance::Context;
using conformance::Model;
using conformance::SlotValues;
using conformance::Stream;
using conformance::Type;
using conformance::Values;

// A layer with its call tensors, made once and run often.
struct Setup {
    Case description;
    std::unique_ptr<Model> model;
    std::unique_ptr<Stream> stream;
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<seqmix_arg> args;

    Setup(const MixerCases& mixer, const BenchShape& shape, const std::string& isa) {
        description.name = shape.name;
        description.attributes = shape.attributes;
        description.absent = shape.absent;
        description.alternatives = shape.alternatives;
        if (shape.phase == std::string("core")) {
            description.ranges = {{"delta", 0.001, 0.8}};
        }
        const Context context({.isa = isa, .threads = arguments().threads});
        model = std::make_unique<Model>(context, mixer, description);
        stream = std::make_unique<Stream>(*model, shape.shape.batch);
        const auto [batch, tokens] = shape.shape;
        const int64_t source = shape.source > 0 ? shape.source : tokens;
        const Type real = shape.bf16 ? Type::bf16 : Type::f32;
        for (const auto& [number, values] : model->inputs(batch, tokens, 1, source)) {
            add(number, std::make_unique<Buffer>(
                            values, model->find(number)->is_integer() ? Type::i64 : real));
        }
        for (const conformance::Slot& slot : model->slots()) {
            if (slot.role == SEQMIX_ROLE_OUTPUT && !model->absent(slot.name)) {
                add(slot.number, std::make_unique<Buffer>(slot.shape(batch, tokens, batch), real));
            }
            // An operation's state is carried in place.
            if (slot.role == SEQMIX_ROLE_STATE_IN) {
                add(slot.number,
                    std::make_unique<Buffer>(Values(slot.shape(batch, tokens, batch)), Type::f32));
                args.push_back({slot.number + 1, 0, 0, 0, buffers.back()->tensor()});
            }
        }
        must(seqmix_layer_prepare(model->layer(), batch, batch * tokens, 1), "prepare");
    }
    void add(int32_t number, std::unique_ptr<Buffer> buffer) {
        args.push_back({number, 0, 0, 0, buffer->tensor()});
        buffers.push_back(std::move(buffer));
    }
    void run() {
        must(seqmix_layer_forward(model->layer(), stream->handle(), args.data(), args.size(),
                                  nullptr),
             description.name);
    }
};

std::vector<float> random_floats(int64_t count, double low, double high) {
    static uint64_t seed = 1;
    conformance::Random random(seed++);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) {
        value = static_cast<float>(random.uniform(low, high));
    }
    return values;
}

std::function<void()> plain_scan(int64_t batch, int64_t t, int64_t d, int64_t n) {
    struct Data {
        std::vector<float> u, delta, bias, a, b, c, skip, z, h, y;
    };
    const auto data = std::make_shared<Data>();
    data->u = random_floats(t * d, -1, 1);
    data->delta = random_floats(t * d, -4, 1);
    data->bias = random_floats(d, -1, 0.5);
    data->a = random_floats(d * n, -8, -0.01);
    data->b = random_floats(t * n, -1, 1);
    data->c = random_floats(t * n, -1, 1);
    data->skip = random_floats(d, -1, 1);
    data->z = random_floats(t * d, -4, 4);
    data->h.assign(static_cast<size_t>(d * n), 0.0f);
    data->y.assign(static_cast<size_t>(t * d), 0.0f);
    return [=] {
        for (int64_t row = 0; row < batch; ++row) {
            plain::selective_scan(t, d, n, data->u.data(), data->delta.data(), data->bias.data(),
                                  data->a.data(), data->b.data(), data->c.data(), data->skip.data(),
                                  data->z.data(), data->h.data(), data->y.data());
        }
        benchmark::DoNotOptimize(data->y.data());
    };
}

std::function<void()> plain_conv(int64_t batch, int64_t t, int64_t d) {
    struct Data {
        std::vector<float> x, weight, bias, y;
    };
    const auto data = std::make_shared<Data>();
    data->x = random_floats(t * d, -2, 2);
    data->weight = random_floats(d * 4, -1, 1);
    data->bias = random_floats(d, -1, 1);
    data->y.assign(static_cast<size_t>(t * d), 0.0f);
    return [=] {
        for (int64_t row = 0; row < batch; ++row) {
            plain::conv4(t, d, data->x.data(), data->weight.data(), data->bias.data(), true,
                         data->y.data());
        }
        benchmark::DoNotOptimize(data->y.data());
    };
}

std::function<void()> plain_attention(int64_t t, int64_t h, int64_t d, bool causal) {
    struct Data {
        std::vector<float> q, k, v, scores, y;
    };
    const auto data = std::make_shared<Data>();
    for (std::vector<float>* x : {&data->q, &data->k, &data->v}) {
        *x = random_floats(t * h * d, -1, 1);
    }
    data->scores.resize(static_cast<size_t>(t));
    data->y.resize(static_cast<size_t>(t * h * d));
    return [=] {
        plain::attention(t, h, d, causal, data->q.data(), data->k.data(), data->v.data(),
                         data->scores.data(), data->y.data());
        benchmark::DoNotOptimize(data->y.data());
    };
}

std::function<void()> plain_loop(const BenchShape& shape) {
    const PlainLoop& plain = shape.plain;
    if (plain.name == nullptr) {
        return {};
    }
    if (plain.name == std::string("scan")) {
        return plain_scan(shape.shape.batch, shape.shape.tokens, plain.channels,
                          plain.states_or_taps);
    }
    if (plain.name == std::string("conv") && plain.states_or_taps == 4) {
        return plain_conv(shape.shape.batch, shape.shape.tokens, plain.channels);
    }
    if (plain.name == std::string("attention")) {
        return plain_attention(shape.shape.tokens, plain.channels, plain.states_or_taps, false);
    }
    std::fprintf(stderr, "%s: no plain loop '%s'\n", shape.name, plain.name);
    std::exit(1);
}

void add_shape(const MixerCases& mixer, const std::string& isa, const BenchShape& shape) {
    add_row({.name = std::string(mixer.type) + "/" + isa + "/" + shape.phase + "/" + shape.name,
             .isa = isa,
             .work = shape.work,
             .limit = shape.limit,
             .tokens = static_cast<double>(shape.shape.batch * shape.shape.tokens),
             .make = [&mixer, &shape, isa] {
                 const auto setup = std::make_shared<Setup>(mixer, shape, isa);
                 return Job{.run = [setup] { setup->run(); }, .plain = plain_loop(shape)};
             }});
}

// A shape of a type at other lengths, for what must be linear in T or is too large for any cache. The
// work scales with the tokens (the state's bytes, the same whatever the length, are nothing beside it).
struct Lengthened {
    const char* type;
    const char* shape;
    const char* name;
    int64_t tokens;
};

const Lengthened kLengthened[] = {
    {"selective_scan_op", "B1_T65536_D64_N16", "B1_T1024_D64_N16", 1024},
    {"selective_scan_op", "B1_T65536_D64_N16", "B1_T8192_D64_N16", 8192},
    {"selective_scan_op", "B1_T65536_D64_N16", "B1_T1048576_D64_N16", 1048576},
    {"causal_conv1d_op", "B1_T2048_D1536_K4", "B1_T65536_D1536_K4", 65536},
};

BenchShape lengthen(const BenchShape& shape, const Lengthened& to) {
    BenchShape longer = shape;
    const double ratio = static_cast<double>(to.tokens) / static_cast<double>(shape.shape.tokens);
    longer.name = to.name;
    longer.shape.tokens = to.tokens;
    longer.work.flops *= ratio;
    longer.work.bytes *= ratio;
    longer.work.slots_avx512 *= ratio;
    longer.work.slots_avx2 *= ratio;
    longer.plain = {};  // as slow per token as that of the shape
    return longer;
}

// Rows of uneven lengths packed into one call, and each of them alone, one after the other: causal, 12
// heads of 64.
void add_ragged(const MixerCases& mixer, const std::string& isa) {
    static const std::vector<int64_t> lengths = {100, 1500, 37, 700, 1024, 3, 411, 900};
    struct Ragged {
        Case setup;
        std::unique_ptr<Model> model;
        std::vector<std::unique_ptr<Buffer>> buffers;
        std::vector<std::vector<seqmix_arg>> calls;

        void add_call(int64_t tokens) {
            calls.emplace_back();
            SlotValues values = model->inputs(1, tokens, 1, tokens);
            for (const auto& [number, value] : values) {
                add(number, std::make_unique<Buffer>(value, Type::f32));
            }
            add(model->find("y")->number,
                std::make_unique<Buffer>(model->find("y")->shape(1, tokens, 1), Type::f32));
        }
        void add(int32_t number, std::unique_ptr<Buffer> buffer) {
            calls.back().push_back({number, 0, 0, 0, buffer->tensor()});
            buffers.push_back(std::move(buffer));
        }
        void run() {
            for (const auto& call : calls) {
                must(seqmix_layer_forward(model->layer(), nullptr, call.data(), call.size(),
                                          nullptr),
                     "ragged rows");
            }
        }
    };
    Row row;
    row.isa = isa;
    Values borders({static_cast<int64_t>(lengths.size()) + 1});
    for (size_t r = 0; r < lengths.size(); ++r) {
        borders.data[r + 1] = borders.data[r] + static_cast<double>(lengths[r]);
        row.tokens += static_cast<double>(lengths[r]);
        row.work.flops += 4 * 12 * 64 * static_cast<double>(lengths[r] * (lengths[r] + 1) / 2);
        row.work.bytes += 4.0 * 4 * 12 * 64 * static_cast<double>(lengths[r]);
    }
    for (const bool packed : {true, false}) {
        row.name =
            std::string(mixer.type) + "/" + isa + "/ragged/R8_" + (packed ? "packed" : "parts");
        row.make = [&mixer, isa, packed, borders] {
            const auto ragged = std::make_shared<Ragged>();
            ragged->setup.attributes = R"({"heads":12,"head_dim":64,"causal":true})";
            ragged->setup.absent = {"bias", "mask", "alibi", "sink", "lse"};
            const Context context({.isa = isa, .threads = arguments().threads});
            ragged->model = std::make_unique<Model>(context, mixer, ragged->setup);
            if (packed) {
                ragged->add_call(static_cast<int64_t>(borders.data.back()));
                for (const int32_t slot : {SEQMIX_SLOT_CU_SEQLENS, SEQMIX_SLOT_CU_SEQLENS_K}) {
                    ragged->add(slot, std::make_unique<Buffer>(borders, Type::i64));
                }
            } else {
                for (const int64_t length : lengths) {
                    ragged->add_call(length);
                }
            }
            return Job{.run = [ragged] { ragged->run(); }};
        };
        add_row(row);
    }
}

void add_type(const MixerCases& mixer) {
    static std::deque<BenchShape> lengthened;  // its elements stay where they are
    for (const std::string& isa : conformance::levels()) {
        if (!wanted(isa) || isa == "reference") {
            continue;
        }
        if (mixer.type == std::string("attention_op")) {
            add_ragged(mixer, isa);
        }
        for (const BenchShape& shape : mixer.benches) {
            add_shape(mixer, isa, shape);
            for (const Lengthened& to : kLengthened) {
                if (std::string(to.type) == mixer.type && std::string(to.shape) == shape.name &&
                    isa != "generic") {
                    lengthened.push_back(lengthen(shape, to));
                    add_shape(mixer, isa, lengthened.back());
                }
            }
        }
    }
}

}  // namespace

}  // namespace seqmix::bench

int main(int argc, char** argv) {
    using namespace seqmix;
    try {
        bench::parse_arguments(argc, argv);
#define SEQMIX_MIXER(type, folder) bench::add_type(mixers::type##_cases);
#include "mixers/mixers.inc"
#include "models/models.inc"
#undef SEQMIX_MIXER
        return bench::run_rows();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "mixers_bench: %s\n", failure.what());
        return 1;
    }
}
