// Checkpoints whose models are computed here again, in double by plain loops: what the training of
// state-spaces/s4 saves (BatchNorm or LayerNorm before or after blocks, embeddings, heads), HyenaDNA
// of order 3, and single Hyena and H3 operators as HazyResearch/safari saves them.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "../support/golden_case.h"
#include "../unit/checkpoint_files.h"

namespace {

using namespace seqmix_test;
using Complex = std::complex<double>;

// Tensors of a file by name, with f32 values.
class Weights32 {
  public:
    Values& add(const std::string& name, const Shape& shape, double low, double high) {
        Values values = noise(static_cast<size_t>(count_of(shape)), ++seed_, 0.5);
        for (double& v : values) {
            v = static_cast<double>(static_cast<float>(low + (v + 0.5) * (high - low)));
        }
        tensors_[name] = {shape, values};
        return tensors_[name].second;
    }
    const Values& operator[](const std::string& name) const { return tensors_.at(name).second; }
    const std::map<std::string, std::pair<Shape, Values>>& all() const { return tensors_; }
    // A safetensors file.
    std::string bytes() const {
        std::vector<NamedShape> shapes;
        std::string data;
        for (const auto& [name, tensor] : tensors_) {
            shapes.push_back({name, tensor.first});
            for (const double value : tensor.second) {
                const auto f = static_cast<float>(value);
                data.append(reinterpret_cast<const char*>(&f), sizeof(f));
            }
        }
        std::string file = safetensors_bytes(shapes);
        std::copy(data.begin(), data.end(), file.end() - static_cast<ptrdiff_t>(data.size()));
        return file;
    }

  private:
    std::map<std::string, std::pair<Shape, Values>> tensors_;
    uint64_t seed_ = 100;
};

Layer open_with(const Context& context, const std::string& path, const Config& options) {
    Layer layer;
    check(seqmix_layer_open(context.get(), path.c_str(), options.get(), layer.out()), path.c_str());
    return layer;
}

double at(const Values& values, int64_t i) { return values[static_cast<size_t>(i)]; }

// y (T,out) = x (T,in) W^T + b.
Values linear(const Values& x, const Values& W, const Values& b) {
    const size_t out = b.size(), in = W.size() / out, T = x.size() / in;
    Values y(T * out);
    for (size_t t = 0; t < T; ++t) {
        for (size_t o = 0; o < out; ++o) {
            double sum = b[o];
            for (size_t i = 0; i < in; ++i) sum += W[o * in + i] * x[t * in + i];
            y[t * out + o] = sum;
        }
    }
    return y;
}

Values layer_norm(const Values& x, const Values& w, const Values& b) {
    const size_t D = w.size();
    Values y(x.size());
    for (size_t t = 0; t < x.size() / D; ++t) {
        double mean = 0, variance = 0;
        for (size_t d = 0; d < D; ++d) mean += x[t * D + d] / static_cast<double>(D);
        for (size_t d = 0; d < D; ++d) {
            variance += std::pow(x[t * D + d] - mean, 2) / static_cast<double>(D);
        }
        for (size_t d = 0; d < D; ++d) {
            y[t * D + d] = (x[t * D + d] - mean) / std::sqrt(variance + 1e-5) * w[d] + b[d];
        }
    }
    return y;
}

// ------------------------------------------------------------------ state-spaces/s4

struct S4Case {
    const char* name;
    bool batch, prenorm, bidirectional, tokens;
    const char* head;
};

constexpr S4Case kS4Cases[] = {
    {"batch_postnorm_mean", true, false, false, false, "mean"},
    {"batch_prenorm_both_sides", true, true, true, false, "mean"},
    {"layer_prenorm_tokens_all", false, true, false, true, "all"},
    {"batch_prenorm_tokens_last", true, true, false, true, "last"},
};

class S4Model : public testing::TestWithParam<S4Case> {
  protected:
    static constexpr int64_t kD = 6, kM = 4, kS = 2, kIn = 3, kOut = 5, kT = 13;
    static constexpr int kLayers = 2;

    void SetUp() override {
        const S4Case& one = GetParam();
        if (one.tokens) {
            w_.add("encoder.0.weight", {kOut, kD}, -1, 1);
        } else {
            w_.add("encoder.0.weight", {kD, kIn}, -1, 1);
            w_.add("encoder.0.bias", {kD}, -1, 1);
        }
        for (int i = 0; i < kLayers; ++i) {
            const std::string layer = "model.layers." + std::to_string(i) + ".";
            add_norm(layer + "norm.norm.");
            const std::string kernel = layer + "layer.layer.kernel.";
            w_.add(layer + "layer.layer.D", {1, kD}, -1, 1);
            w_.add(kernel + "inv_dt", {kD, 1}, -4.0, -1.5);
            w_.add(kernel + "A_real", {kS, kM}, -1.5, 0.5);
            w_.add(kernel + "A_imag", {kS, kM}, 0.0, 6.0);
            w_.add(kernel + "B", {1, kS, kM, 2}, -1, 1);
            w_.add(kernel + "C", {one.bidirectional ? 2 : 1, kD, kM, 2}, -1, 1);
            w_.add(layer + "layer.output_linear.0.weight", {2 * kD, kD}, -1, 1);
            w_.add(layer + "layer.output_linear.0.bias", {2 * kD}, -1, 1);
        }
        if (one.prenorm) add_norm("model.norm.norm.");
        w_.add("decoder.0.output_transform.weight", {kOut, kD}, -1, 1);
        w_.add("decoder.0.output_transform.bias", {kOut}, -1, 1);
        path_ = folder_.write("model.safetensors", w_.bytes());
    }

    void add_norm(const std::string& name) {
        w_.add(name + "weight", {kD}, 0.5, 1.5);
        w_.add(name + "bias", {kD}, -0.5, 0.5);
        if (!GetParam().batch) return;
        w_.add(name + "running_mean", {kD}, -0.5, 0.5);
        w_.add(name + "running_var", {kD}, 0.3, 2.0);
        w_.add(name + "num_batches_tracked", {}, 7, 7);
    }

    Values norm(const Values& x, const std::string& name) const {
        const Values &weight = w_[name + "weight"], &bias = w_[name + "bias"];
        if (!GetParam().batch) return layer_norm(x, weight, bias);
        Values y(x.size());
        for (size_t i = 0; i < x.size(); ++i) {
            const size_t d = i % kD;
            y[i] = (x[i] - w_[name + "running_mean"][d]) /
                       std::sqrt(w_[name + "running_var"][d] + 1e-5) * weight[d] +
                   bias[d];
        }
        return y;
    }

    // Tap l of kernel c of channel h, zero-order hold.
    double tap(const std::string& kernel, int64_t c, int64_t h, int64_t l) const {
        const double dt = std::exp(at(w_[kernel + "inv_dt"], h));
        Complex sum = 0;
        for (int64_t n = 0; n < kM; ++n) {
            const int64_t s = h % kS * kM + n, at_c = (c * kD + h) * kM + n;
            const Complex A(-std::exp(at(w_[kernel + "A_real"], s)), -at(w_[kernel + "A_imag"], s));
            const Complex B(at(w_[kernel + "B"], 2 * s), at(w_[kernel + "B"], 2 * s + 1));
            const Complex C(at(w_[kernel + "C"], 2 * at_c), at(w_[kernel + "C"], 2 * at_c + 1));
            sum += C * B * (std::exp(dt * A) - 1.0) / A * std::exp(static_cast<double>(l) * dt * A);
        }
        return 2 * sum.real();
    }

    Values block(const Values& u, int i) const {
        const std::string layer = "model.layers." + std::to_string(i) + ".layer.";
        const std::string kernel = layer + "layer.kernel.";
        Values g(u.size());
        for (int64_t t = 0; t < kT; ++t) {
            for (int64_t h = 0; h < kD; ++h) {
                double sum = at(w_[layer + "layer.D"], h) * at(u, t * kD + h);
                for (int64_t j = 0; j < kT; ++j) {
                    const double x = at(u, j * kD + h);
                    if (j <= t) sum += tap(kernel, 0, h, t - j) * x;
                    if (j > t && GetParam().bidirectional) sum += tap(kernel, 1, h, j - t - 1) * x;
                }
                g[static_cast<size_t>(t * kD + h)] = 0.5 * sum * std::erfc(-sum / std::sqrt(2.0));
            }
        }
        const Values o =
            linear(g, w_[layer + "output_linear.0.weight"], w_[layer + "output_linear.0.bias"]);
        Values z(u.size());
        for (int64_t t = 0; t < kT; ++t) {
            for (int64_t h = 0; h < kD; ++h) {
                z[static_cast<size_t>(t * kD + h)] =
                    at(o, t * 2 * kD + h) / (1 + std::exp(-at(o, t * 2 * kD + kD + h)));
            }
        }
        return z;
    }

    // Logits (T,C) of all tokens, or one row.
    Values expected(const Values& input) const {
        Values u;
        if (GetParam().tokens) {
            for (const double id : input) {
                const auto row = w_["encoder.0.weight"].begin() + static_cast<ptrdiff_t>(id) * kD;
                u.insert(u.end(), row, row + kD);
            }
        } else {
            u = linear(input, w_["encoder.0.weight"], w_["encoder.0.bias"]);
        }
        for (int i = 0; i < kLayers; ++i) {
            const std::string name = "model.layers." + std::to_string(i) + ".norm.norm.";
            const Values z = block(GetParam().prenorm ? norm(u, name) : u, i);
            for (size_t k = 0; k < u.size(); ++k) u[k] += z[k];
            if (!GetParam().prenorm) u = norm(u, name);
        }
        if (GetParam().prenorm) u = norm(u, "model.norm.norm.");
        const std::string head = GetParam().head;
        if (head == "mean") {
            Values mean(kD, 0.0);
            for (size_t k = 0; k < u.size(); ++k) mean[k % kD] += u[k] / kT;
            u = mean;
        } else if (head == "last") {
            u.erase(u.begin(), u.end() - kD);
        }
        return linear(u, w_["decoder.0.output_transform.weight"],
                      w_["decoder.0.output_transform.bias"]);
    }

    Weights32 w_;
    TempFolder folder_;
    std::string path_;
};

TEST_P(S4Model, IsTheAuthors) {
    const bool tokens = GetParam().tokens, all = std::string(GetParam().head) == "all";
    Values input = noise(static_cast<size_t>(tokens ? kT : kT * kIn), 5);
    if (tokens) {
        for (double& x : input) x = std::floor((x + 1) / 2 * kOut);
    }
    const Values want = expected(input);
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer model = open_with(context, path_, Config().set("head", GetParam().head));
        const Tensor x =
            tokens ? Tensor(DType::i64, {1, kT}, input) : Tensor(dtype, {1, kT, kIn}, input);
        const auto logits = [&](const State& state, const Tensor& part) {
            const Tensor out(dtype, all ? Shape{1, part.size(1), kOut} : Shape{1, kOut});
            Args args(model);
            args.add(tokens ? "tokens" : "x", part).add("logits", out);
            forward(model, state, args);
            return out.values();
        };
        const double limit = is_reference(level) ? kReferenceTolerance : kF32Tolerance;
        EXPECT_TRUE(close_to(logits(make_state(model), x), want, limit));
        if (GetParam().bidirectional) continue;
        const State steps = make_state(model);
        Values joined, last;
        for (int64_t t = 0; t < kT; ++t) {
            last = logits(steps, x.slice(1, t, 1));
            joined.insert(joined.end(), last.begin(), last.end());
        }
        EXPECT_TRUE(close_to(all ? joined : last, want, limit));
    }
}

INSTANTIATE_TEST_SUITE_P(Computed, S4Model, testing::ValuesIn(kS4Cases),
                         [](const auto& info) { return info.param.name; });

// ------------------------------------------------------------------ HyenaDNA of order 3

// A block of it is x + hyena(norm(x)), with the type `hyena` bound by itself.
TEST(HyenaDnaOfOrder3, BlocksHaveTheOperator) {
    constexpr int64_t V = 8, D = 4, n = 3, F = 5, L = 12, J = 8, T = 9;
    const std::string layer = "model.backbone.layers.0.", mixer = layer + "mixer.",
                      filter = mixer + "filter_fn.";
    const std::map<std::string, std::string> slots = {
        {"in_proj.weight", "in_proj.weight"},
        {"in_proj.bias", "in_proj.bias"},
        {"out_proj.weight", "out_proj.weight"},
        {"out_proj.bias", "out_proj.bias"},
        {"short_filter.weight", "short_filter.weight"},
        {"short_filter.bias", "short_filter.bias"},
        {"filter.bias", "filter_fn.bias"},
        {"filter.in.weight", "filter_fn.implicit_filter.0.weight"},
        {"filter.in.bias", "filter_fn.implicit_filter.0.bias"},
        {"filter.freq", "filter_fn.implicit_filter.1.freq"},
        {"filter.inner0.weight", "filter_fn.implicit_filter.2.weight"},
        {"filter.inner0.bias", "filter_fn.implicit_filter.2.bias"},
        {"filter.out.weight", "filter_fn.implicit_filter.4.weight"},
        {"filter.deltas", "filter_fn.modulation.deltas"},
        {"filter.z", "filter_fn.pos_emb.z"}};
    Weights32 w;
    w.add("model.backbone.embeddings.word_embeddings.weight", {V, D}, -1, 1);
    for (const std::string norm : {"norm1", "norm2"}) {
        w.add(layer + norm + ".weight", {D}, 0.5, 1.5);
        w.add(layer + norm + ".bias", {D}, -0.5, 0.5);
    }
    w.add(mixer + "in_proj.weight", {(n + 1) * D, D}, -1, 1);
    w.add(mixer + "in_proj.bias", {(n + 1) * D}, -1, 1);
    w.add(mixer + "out_proj.weight", {D, D}, -1, 1);
    w.add(mixer + "out_proj.bias", {D}, -1, 1);
    w.add(mixer + "short_filter.weight", {(n + 1) * D, 1, 3}, -1, 1);
    w.add(mixer + "short_filter.bias", {(n + 1) * D}, -1, 1);
    w.add(filter + "bias", {(n - 1) * D}, -1, 1);
    w.add(filter + "pos_emb.z", {1, L, 3}, -1, 1);
    w.add(filter + "implicit_filter.0.weight", {F, 3}, -1, 1);
    w.add(filter + "implicit_filter.0.bias", {F}, -1, 1);
    w.add(filter + "implicit_filter.1.freq", {1, F}, 0.5, 2);
    w.add(filter + "implicit_filter.2.weight", {F, F}, -1, 1);
    w.add(filter + "implicit_filter.2.bias", {F}, -1, 1);
    w.add(filter + "implicit_filter.4.weight", {(n - 1) * D, F}, -1, 1);
    w.add(filter + "modulation.deltas", {1, 1, (n - 1) * D}, -15, -3);
    w.add(layer + "mlp.fc1.weight", {J, D}, -1, 1);
    w.add(layer + "mlp.fc1.bias", {J}, -1, 1);
    w.add(layer + "mlp.fc2.weight", {D, J}, -1, 1);
    w.add(layer + "mlp.fc2.bias", {D}, -1, 1);
    w.add("model.backbone.ln_f.weight", {D}, 0.5, 1.5);
    w.add("model.backbone.ln_f.bias", {D}, -0.5, 0.5);
    w.add("model.lm_head.weight", {V, D}, -1, 1);
    const TempFolder folder;
    const std::string path = folder.write("model.safetensors", w.bytes());
    const Values x = noise(T * D, 3);
    for (const std::string& level : levels()) {
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        Values before;
        for (const char* layout : {"order_major", "channel_major"}) {
            SCOPED_TRACE(level + " " + layout);
            const Layer planned = plan(context, "hyena",
                                       Config()
                                           .set("d_model", D)
                                           .set("l_max", L)
                                           .set("order", n)
                                           .set("filter_order", F)
                                           .set("num_inner_mlps", 1)
                                           .set("shift", 0.05)
                                           .set("filter_layout", layout));
            Args weights(planned);
            for (const auto& [slot, name] : slots) {
                const auto& [shape, values] = w.all().at(mixer + name);
                weights.add(slot, Tensor(DType::f32, shape, values));
            }
            const Layer hyena = bind(planned, weights);
            const Values normed = layer_norm(x, w[layer + "norm1.weight"], w[layer + "norm1.bias"]);
            Values want =
                run(hyena, make_state(hyena), Tensor(dtype, {1, T, D}, normed), "y", dtype)
                    .values();
            for (size_t i = 0; i < x.size(); ++i) want[i] += x[i];
            const Layer model = open_with(context, path, Config().set("filter_layout", layout));
            const State state = make_state(model);
            const Values y =
                run(child(model, 1), child(state, 1), Tensor(dtype, {1, T, D}, x), "y", dtype)
                    .values();
            EXPECT_TRUE(close_to(y, want, is_reference(level) ? 1e-12 : 1e-5));
            EXPECT_NE(y, before);
            before = y;
        }
    }
}

// ------------------------------------------------------------------ operators alone

struct OperatorCase {
    const char* folder;
    const char *option, *value;
    double shift;
};

constexpr OperatorCase kOperators[] = {
    {"longconv-op-hyena-order2", "filter_layout", "order_major", 0},
    {"longconv-op-hyena-order3-do", "filter_layout", "channel_major", 0.05},
    {"longconv-op-hyena-order3-od", "filter_layout", "order_major", 0},
    {"longconv-op-h3", "discretization", "bilinear", 0},
    {"longconv-op-h3-headdim2", "discretization", "zoh", 0},
};

TEST(OperatorCheckpoints, AreTheAuthors) {
    for (const OperatorCase& one : kOperators) {
        const std::string folder = std::string("golden/") + one.folder;
        SEQMIX_NEED_SHARED(folder);
        SCOPED_TRACE(one.folder);
        const SafetensorsFile file(shared_path(folder + "/expected.safetensors"));
        const Values y = file.doubles("out.y");
        for (const std::string& level : levels()) {
            SCOPED_TRACE(level);
            const DType dtype = real_dtype(level);
            const Context context = make_context(level.c_str());
            Config options;
            options.set(one.option, one.value);
            if (one.shift > 0) options.set("shift", one.shift);
            const Layer model = open_with(context, shared_path(folder + "/state_dict.pt"), options);
            const Tensor u = load_tensor(file, "in.u", dtype);
            const auto run_from = [&](const State& state, const Tensor& x) {
                const Tensor out(dtype, x.shape());
                Args args(model);
                args.add("embeds", x).add("hidden", out);
                forward(model, state, args);
                return out;
            };
            // The authors' window reads its times from a buffer that the file rounds to f32; ours
            // are exact.
            const bool hyena = std::string(one.folder).find("hyena") != std::string::npos;
            const double limit = hyena && is_reference(level) ? 2e-7 : tolerance(file, level);
            EXPECT_TRUE(close_to(run_from(make_state(model, u.size(0)), u).values(), y, limit));
            const State steps = make_state(model, u.size(0));
            Tensor joined(dtype, u.shape());
            for (int64_t t = 0; t < u.size(1); ++t) {
                joined.slice(1, t, 1).assign(run_from(steps, u.slice(1, t, 1)).values());
            }
            EXPECT_TRUE(close_to(joined.values(), y, limit));
        }
    }
}

}  // namespace
