// The long convolution layers against other implementations' numbers: worked numbers of their
// specification, the files made with HazyResearch/safari (Hyena, H3), and the published CKCNN. Through
// the C API; the weights' files by the library's own reader of torch files.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "../support/capi.h"
#include "../support/golden_case.h"
#include "../support/safetensors_file.h"
#include "../support/shared_data.h"
#include "models/formats/checkpoint.h"

namespace {

using namespace seqmix_test;
using nlohmann::json;

// Parameter k with amplitude a: a sin(0.5 + 1.3 i + 0.7 k), i the flat index.
Values filled(int k, double a, int64_t count) {
    Values values;
    for (int64_t i = 0; i < count; ++i) {
        values.push_back(a * std::sin(0.5 + 1.3 * static_cast<double>(i) + 0.7 * k));
    }
    return values;
}
// sin(0.2 + 0.9 (l D + d)).
Values input_of(int64_t count) {
    Values values;
    for (int64_t i = 0; i < count; ++i) {
        values.push_back(std::sin(0.2 + 0.9 * static_cast<double>(i)));
    }
    return values;
}

using Named = std::map<std::string, Values>;

// Binds tensors given by slot name; every weight slot must be among them, or be optional.
Layer bind_named(const Layer& planned, const Named& given) {
    Args args(planned);
    std::vector<Tensor> tensors;
    size_t used = 0;
    for (const seqmix_slot_info& slot : slots_of(planned)) {
        const auto found = given.find(slot.name);
        if (slot.role != SEQMIX_ROLE_WEIGHT || found == given.end()) continue;
        Shape shape(slot.shape, slot.shape + slot.ndim);
        args.add(slot.name, Tensor(DType::f32, shape, found->second));
        ++used;
    }
    EXPECT_EQ(used, given.size());
    return bind(planned, args);
}

Tensor run_layer(const Layer& layer, const std::string& level, const Shape& in, const Values& x,
                 const Shape& out) {
    const Tensor input(real_dtype(level), in, x);
    const Tensor output = Tensor::filled(real_dtype(level), out, -777);
    Args args(layer);
    args.add("x", input).add("y", output);
    forward(layer, make_state(layer, in[0]), args);
    return output;
}
// Without a state.
Tensor run_whole(const Layer& layer, const std::string& level, const Shape& in, const Values& x,
                 const Shape& out) {
    const Tensor input(real_dtype(level), in, x);
    const Tensor output = Tensor::filled(real_dtype(level), out, -777);
    Args args(layer);
    args.add("x", input).add("y", output);
    check(seqmix_layer_forward(layer.get(), nullptr, args.data(), args.size(), nullptr), "forward");
    return output;
}

double tolerance_of(const std::string& level) { return is_reference(level) ? 2e-7 : 1e-5; }

// ------------------------------------------------------------------ worked numbers

TEST(LongConvLayers, HyenaWorkedNumbers) {
    const Named weights = {
        {"in_proj.weight", filled(0, .8, 12)},       {"in_proj.bias", filled(1, .1, 6)},
        {"short_filter.weight", filled(2, .6, 18)},  {"short_filter.bias", filled(3, .1, 6)},
        {"filter.in.weight", filled(4, .7, 12)},     {"filter.in.bias", filled(5, .2, 4)},
        {"filter.inner0.weight", filled(6, .7, 16)}, {"filter.inner0.bias", filled(7, .2, 4)},
        {"filter.inner1.weight", filled(8, .7, 16)}, {"filter.inner1.bias", filled(9, .2, 4)},
        {"filter.out.weight", filled(10, .7, 8)},    {"filter.freq", Values(4, 1.0)},
        {"filter.bias", filled(11, .5, 2)},          {"out_proj.weight", filled(12, .9, 4)},
        {"out_proj.bias", filled(13, .1, 2)}};
    const Values expected = {-.01872785, -.09617221, -.02977178, -.08572114,
                             .01852101,  -.14966580, .00016106,  -.12093813,
                             -.12679328, .03566403,  -.01497010, -.10403712};
    for (const std::string& level : levels()) {
        const Context context = make_context(level.c_str());
        const Layer layer = bind_named(plan(context, "hyena",
                                            Config()
                                                .set("d_model", 2)
                                                .set("l_max", 6)
                                                .set("emb_dim", 3)
                                                .set("filter_order", 4)),
                                       weights);
        const Tensor y = run_layer(layer, level, {1, 6, 2}, input_of(12), {1, 6, 2});
        EXPECT_TRUE(close_to(y.values(), expected, tolerance_of(level))) << level;
    }
}

TEST(LongConvLayers, H3WorkedNumbers) {
    const Named weights = {{"q_proj.weight", filled(0, .8, 4)},
                           {"k_proj.weight", filled(1, .8, 4)},
                           {"v_proj.weight", filled(2, .8, 4)},
                           {"q_proj.bias", filled(3, .1, 2)},
                           {"k_proj.bias", filled(4, .1, 2)},
                           {"v_proj.bias", filled(5, .1, 2)},
                           {"shift.B", {1, 0, 1, 0}},
                           {"shift.C", filled(6, .6, 4)},
                           {"shift.D", filled(7, .5, 2)},
                           {"ssm.D", filled(8, .5, 2)},
                           {"ssm.inv_A_real", Values(2, std::log(.5))},
                           {"ssm.A_imag", Values(2, -1.0)},
                           {"ssm.log_dt", Values(2, std::log(.1))},
                           {"ssm.B", {1, 0, 1, 0}},
                           {"ssm.C", {1, .5, -.5, .25}},
                           {"out_proj.weight", filled(9, .9, 4)},
                           {"out_proj.bias", filled(10, .1, 2)}};
    const Values expected = {.01336494, .13707705, .03013079, .10513933,  .15919575,
                             .05991953, .10735705, .04738980, -.19772519, .19529441};
    for (const std::string& level : levels()) {
        const Context context = make_context(level.c_str());
        const Layer layer = bind_named(
            plan(context, "h3", Config().set("d_model", 2).set("d_state", 2).set("disc", "zoh")),
            weights);
        const Tensor y = run_layer(layer, level, {1, 5, 2}, input_of(10), {1, 5, 2});
        EXPECT_TRUE(close_to(y.values(), expected, tolerance_of(level))) << level;
    }
}

Named ck_worked() {
    return {{"kernel.0.v", filled(0, .8, 3)},    {"kernel.0.g", filled(1, .9, 3)},
            {"kernel.0.bias", filled(2, .1, 3)}, {"kernel.1.v", filled(3, .8, 9)},
            {"kernel.1.g", filled(4, .9, 3)},    {"kernel.1.bias", filled(5, .1, 3)},
            {"kernel.2.v", filled(6, .8, 12)},   {"kernel.2.g", filled(7, .9, 4)},
            {"kernel.2.bias", filled(8, .1, 4)}, {"bias", filled(9, .1, 2)}};
}

TEST(LongConvLayers, CkConvWorkedNumbers) {
    const Values expected = {-.21661623, .12741759,  -.95901087, .06023826, -.31938020,
                             -.02537863, 1.05743145, .28700115,  .87269094, .37753488};
    for (const std::string& level : levels()) {
        const Context context = make_context(level.c_str());
        for (const int64_t length : {0, 5}) {
            const Layer layer = bind_named(plan(context, "ckconv",
                                                Config()
                                                    .set("d_in", 2)
                                                    .set("d_out", 2)
                                                    .set("hidden", 3)
                                                    .set("omega_0", 3.0)
                                                    .set("train_length", length)),
                                           ck_worked());
            const Tensor y = run_whole(layer, level, {1, 5, 2}, input_of(10), {1, 5, 2});
            EXPECT_TRUE(close_to(y.values(), expected, tolerance_of(level))) << level;
        }
    }
}

// ------------------------------------------------------------------ files made with safari

// Tensors of a torch file under other names; those that map to "" are left out.
Named read_state_dict(const std::string& path, const std::map<std::string, std::string>& names) {
    seqmix::Checkpoint checkpoint;
    if (!seqmix::open_checkpoint(path, checkpoint).ok()) {
        throw std::runtime_error(seqmix_last_error());
    }
    Named values;
    for (const auto& [name, tensor] : checkpoint.tensors) {
        const auto to = names.find(name);
        if (to == names.end()) throw std::runtime_error("unexpected tensor " + name);
        if (to->second.empty()) continue;
        if (tensor.dtype != seqmix::DType::f32) throw std::runtime_error(name + " is not f32");
        std::vector<float> data(tensor.bytes / sizeof(float));
        std::memcpy(data.data(), tensor.data, tensor.bytes);
        values[to->second] = Values(data.begin(), data.end());
    }
    return values;
}

json read_json(const std::string& path) { return json::parse(std::ifstream(path)); }

class SafariFile : public testing::TestWithParam<std::string> {};

const std::map<std::string, std::string> kHyenaNames = {
    {"in_proj.weight", "in_proj.weight"},
    {"in_proj.bias", "in_proj.bias"},
    {"out_proj.weight", "out_proj.weight"},
    {"out_proj.bias", "out_proj.bias"},
    {"short_filter.weight", "short_filter.weight"},
    {"short_filter.bias", "short_filter.bias"},
    {"filter_fn.bias", "filter.bias"},
    {"filter_fn.pos_emb.z", "filter.z"},
    {"filter_fn.pos_emb.t", "filter.t"},
    {"filter_fn.implicit_filter.0.weight", "filter.in.weight"},
    {"filter_fn.implicit_filter.0.bias", "filter.in.bias"},
    {"filter_fn.implicit_filter.1.freq", "filter.freq"},
    {"filter_fn.implicit_filter.2.weight", "filter.inner0.weight"},
    {"filter_fn.implicit_filter.2.bias", "filter.inner0.bias"},
    {"filter_fn.implicit_filter.3.freq", ""},
    {"filter_fn.implicit_filter.4.weight", "filter.inner1.weight"},
    {"filter_fn.implicit_filter.4.bias", "filter.inner1.bias"},
    {"filter_fn.implicit_filter.5.freq", ""},
    {"filter_fn.implicit_filter.6.weight", "filter.out.weight"},
    {"filter_fn.modulation.deltas", "filter.deltas"},
};
const std::map<std::string, std::string> kH3Names = {
    {"q_proj.weight", "q_proj.weight"},
    {"q_proj.bias", "q_proj.bias"},
    {"k_proj.weight", "k_proj.weight"},
    {"k_proj.bias", "k_proj.bias"},
    {"v_proj.weight", "v_proj.weight"},
    {"v_proj.bias", "v_proj.bias"},
    {"ssm_k_kernel.kernel.B", "shift.B"},
    {"ssm_k_kernel.kernel.C", "shift.C"},
    {"ssm_k_D", "shift.D"},
    {"kernel.kernel.inv_A_real", "ssm.inv_A_real"},
    {"kernel.kernel.A_imag", "ssm.A_imag"},
    {"kernel.kernel.log_dt", "ssm.log_dt"},
    {"kernel.kernel.B", "ssm.B"},
    {"kernel.kernel.C", "ssm.C"},
    {"D", "ssm.D"},
    {"output_linear.weight", "out_proj.weight"},
    {"output_linear.bias", "out_proj.bias"},
};

struct SafariCase {
    Shape shape;
    Values u, y;
    double f32;
    Layer layer;
    State state;
    Tensor out;

    SafariCase(const Context& context, const std::string& name, const std::string& level) {
        const std::string folder = shared_path("golden/" + name);
        const SafetensorsFile expected(folder + "/expected.safetensors");
        const json config = read_json(folder + "/config.json");
        const bool hyena = config.at("layer") == "hyena";
        Config attributes;
        attributes.set("d_model", config.at("d_model").get<int64_t>());
        if (hyena) {
            for (const char* key : {"l_max", "order", "filter_order", "emb_dim", "num_inner_mlps",
                                    "short_filter_order"}) {
                attributes.set(key, config.at(key).get<int64_t>());
            }
            const bool order_major =
                config.at("filter_channel_layout").get<std::string>().starts_with("order");
            attributes.set("shift", config.at("shift").get<double>())
                .set("filter_layout", order_major ? "order_major" : "channel_major");
        } else {
            attributes.set("d_state", config.at("d_state").get<int64_t>())
                .set("head_dim", config.at("head_dim").get<int64_t>())
                .set("disc", config.at("disc").get<std::string>().c_str());
        }
        shape = expected.shape("in.u");
        u = expected.doubles("in.u");
        y = expected.doubles("out.y");
        f32 = reference_f32_error(expected);
        layer =
            bind_named(plan(context, hyena ? "hyena" : "h3", attributes),
                       read_state_dict(folder + "/state_dict.pt", hyena ? kHyenaNames : kH3Names));
        state = make_state(layer, shape[0]);
        const Tensor input(real_dtype(level), shape, u);
        out = Tensor::filled(real_dtype(level), shape, -777);
        Args args(layer);
        args.add("x", input).add("y", out);
        forward(layer, state, args);
    }
};

TEST_P(SafariFile, Agrees) {
    SEQMIX_NEED_SHARED("golden/" + GetParam());
    for (const std::string& level : levels()) {
        const Context context = make_context(level.c_str());
        const SafariCase one(context, GetParam(), level);
        const double limit =
            is_reference(level) ? kReferenceTolerance : std::max(kF32Tolerance, one.f32);
        EXPECT_TRUE(close_to(one.out.values(), one.y, limit)) << level;
        if (GetParam() != "longconv-op-h3") continue;
        // The authors' states: (B,H,M,2), and the last N keys, newest first.
        const SafetensorsFile file(shared_path("golden/" + GetParam() + "/expected.safetensors"));
        const Values ssm = file.doubles("out.ssm_state"), shift = file.doubles("out.shift_state");
        const Tensor x = get_state(one.layer, one.state, "ssm_state", 2, real_dtype(level));
        const Tensor window = get_state(one.layer, one.state, "shift_state", 2, real_dtype(level));
        Values mine, theirs, keys, their_keys;
        for (int64_t b = 0; b < 2; ++b) {
            for (int64_t h = 0; h < 6; ++h) {
                for (int64_t m = 0; m < 4; ++m) {
                    for (int64_t part = 0; part < 2; ++part) {
                        mine.push_back(x.at({b, m, part, h}));
                        theirs.push_back(
                            ssm[static_cast<size_t>(((b * 6 + h) * 4 + m) * 2 + part)]);
                    }
                }
                for (int64_t j = 0; j < 7; ++j) {
                    keys.push_back(window.at({b, 6 - j, h}));
                    their_keys.push_back(shift[static_cast<size_t>((b * 6 + h) * 8 + j)]);
                }
            }
        }
        EXPECT_TRUE(close_to(mine, theirs, limit)) << level;
        EXPECT_TRUE(close_to(keys, their_keys, limit)) << level;
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, SafariFile,
                         testing::Values("longconv-op-h3", "longconv-op-h3-headdim2",
                                         "longconv-op-hyena-order2", "longconv-op-hyena-order3-do",
                                         "longconv-op-hyena-order3-od"),
                         [](const auto& info) { return test_name(info.param); });

// ------------------------------------------------------------------ CKCNN on sequential MNIST

// The two blocks of the published model, then a linear map of the last time step.
struct CkCnn {
    Layer block[2];
    Values weight, bias;  // (10,30), (10)

    explicit CkCnn(const Context& context) {
        std::map<std::string, std::string> names = {{"finallyr.weight", "weight"},
                                                    {"finallyr.bias", "bias"}};
        for (const std::string b : {"0", "1"}) {
            for (const std::string c : {"1", "2"}) {
                const std::string from = "backbone." + b + ".cconv" + c + ".";
                const std::string to = b + "conv" + c + ".";
                for (int i = 0; i < 3; ++i) {
                    const std::string net =
                        from + "Kernel.kernel_net." + std::to_string(4 * i) + ".";
                    const std::string kernel = to + "kernel." + std::to_string(i) + ".";
                    names[net + "weight_v"] = kernel + "v";
                    names[net + "weight_g"] = kernel + "g";
                    names[net + "bias"] = kernel + "bias";
                }
                names[from + "bias"] = to + "bias";
                for (const std::string part : {"weight", "bias"}) {
                    names["backbone." + b + ".norm" + c + ".layer_norm." + part] =
                        b + "norm" + c + "." + part;
                    names["backbone." + b + ".shortcut.0." + part] = b + "shortcut." + part;
                }
            }
        }
        Named all = read_state_dict(shared_path("data/ckconv/ckcnn_smnist_30.pt"), names);
        weight = all.at("weight");
        bias = all.at("bias");
        for (int b = 0; b < 2; ++b) {
            Named mine;
            for (const auto& [name, values] : all) {
                if (name[0] == '0' + b) mine[name.substr(1)] = values;
            }
            block[b] = bind_named(plan(context, "ckblock",
                                       Config()
                                           .set("d_in", b == 0 ? 1 : 30)
                                           .set("d_out", 30)
                                           .set("hidden", 32)
                                           .set("omega_0", 31.09195739463897)
                                           .set("train_length", 784)),
                                  mine);
        }
    }
    Values logits(const std::string& level, const Values& image) const {
        const Tensor first = run_whole(block[0], level, {1, 784, 1}, image, {1, 784, 30});
        const Tensor second =
            run_whole(block[1], level, {1, 784, 30}, first.values(), {1, 784, 30});
        const Values rows = second.values();
        Values result = bias;
        for (size_t o = 0; o < 10; ++o) {
            for (size_t i = 0; i < 30; ++i) result[o] += weight[o * 30 + i] * rows[783 * 30 + i];
        }
        return result;
    }
};

// The first bytes of a gzip file.
std::string unpacked(const std::string& path, size_t count) {
    const std::string command = "gzip -dc '" + shared_path(path) + "' 2>/dev/null";
    std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
    std::string bytes(count, 0);
    if (pipe == nullptr || fread(bytes.data(), 1, count, pipe.get()) != count) {
        throw std::runtime_error("gzip could not read " + path);
    }
    return bytes;
}

TEST(CkCnn, SequentialMnist) {
    SEQMIX_NEED_SHARED("data/ckconv/ckcnn_smnist_30.pt");
    SEQMIX_NEED_SHARED("data/mnist/t10k-images-idx3-ubyte.gz");
    const std::string images = unpacked("data/mnist/t10k-images-idx3-ubyte.gz", 16 + 500 * 784);
    const std::string labels = unpacked("data/mnist/t10k-labels-idx1-ubyte.gz", 8 + 500);
    const auto byte = [](const std::string& s, size_t i) {
        return static_cast<unsigned char>(s[i]);
    };
    const auto image = [&](size_t i) {
        Values pixels;
        for (size_t p = 0; p < 784; ++p) {
            pixels.push_back((byte(images, 16 + i * 784 + p) / 255.0 - .1307) / .3081);
        }
        return pixels;
    };
    const Values expected = {-14.94756, -5.09423,  -5.46633, -2.56289,  -5.99558,
                             -11.39695, -25.89425, 10.47805, -12.32621, -2.88536};
    for (const std::string& level : levels()) {
        const Context context = make_context(level.c_str());
        const CkCnn model(context);
        EXPECT_TRUE(close_to(model.logits(level, image(0)), expected, 2e-6)) << level;
        if (level != levels().back()) continue;
        int right = 0;
        for (size_t i = 0; i < 500; ++i) {
            const Values logits = model.logits(level, image(i));
            const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
            right += best == byte(labels, 8 + i) ? 1 : 0;
        }
        EXPECT_EQ(right, 498);
    }
}

}  // namespace
