// selective_scan_op against the files made with state-spaces/mamba: whole scans (u, delta, z are
// (B,D,L), B and C are (D,N), (B,N,L) or (B,G,N,L)) and single steps (x, dt are (B,D) or (B,H,P)).
// All of them are passed as views of the file's layout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../support/golden_case.h"

namespace {

using namespace seqmix_test;

const std::vector<std::string>& scan_cases() {
    static const std::vector<std::string> names = {
        "mamba-op-scan-bf16",      "mamba-op-scan-const-b",   "mamba-op-scan-const-bc",
        "mamba-op-scan-const-c",   "mamba-op-scan-d",         "mamba-op-scan-d-z",
        "mamba-op-scan-full",      "mamba-op-scan-groups2",   "mamba-op-scan-groups4-b-only",
        "mamba-op-scan-initial",   "mamba-op-scan-l1-n1",     "mamba-op-scan-l257-n24",
        "mamba-op-scan-l7-n4",     "mamba-op-scan-near0",     "mamba-op-scan-plain",
        "mamba-op-scan-threshold", "mamba-op-scan-underflow",
    };
    return names;
}

const std::vector<std::string>& update_cases() {
    static const std::vector<std::string> names = {"mamba-op-update-heads",
                                                   "mamba-op-update-plain"};
    return names;
}

// Optional in the project; its complex A is refused.
const char* const kComplexCase = "mamba-op-scan-complex";

class SelectiveScanOp : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        SEQMIX_NEED_SHARED("golden/" + GetParam() + ".safetensors");
        file_ =
            std::make_unique<SafetensorsFile>(shared_path("golden/" + GetParam() + ".safetensors"));
    }

    Tensor in(const std::string& name) { return load_tensor(*file_, "in." + name, dtype_); }
    bool has(const std::string& name) { return file_->has("in." + name); }

    Layer open(const std::string& level, int64_t channels, int64_t states, int64_t groups,
               bool softplus) {
        dtype_ = real_dtype(level);
        context_ = make_context(level.c_str());
        return make_op(context_, "selective_scan_op",
                       Config()
                           .set("d_inner", channels)
                           .set("d_state", states)
                           .set("groups", groups)
                           .set("delta_softplus", softplus));
    }

    // B or C of a scan.
    Tensor projection(const std::string& name) {
        const Tensor tensor = in(name);
        switch (tensor.shape().size()) {
            case 2: return tensor;                         // (D,N)
            case 3: return tensor.permute({0, 2, 1});      // (B,N,L) -> (B,T,N)
            default: return tensor.permute({0, 3, 1, 2});  // (B,G,N,L) -> (B,T,G,N)
        }
    }

    void scan(const std::string& level) {
        const Shape a = file_->shape("in.A");
        int64_t groups = 1;
        for (const char* name : {"in.B", "in.C"}) {
            if (file_->shape(name).size() == 4) {
                groups = file_->shape(name)[1];
            }
        }
        const Layer layer =
            open(level, a.at(0), a.at(1), groups, file_->metadata("delta_softplus") == "true");
        const Tensor y = Tensor::filled(dtype_, file_->shape("out.y"), -777);
        Tensor state = Tensor::filled(dtype_, file_->shape("out.last_state"), -777);
        Args args(layer);
        for (const char* name : {"u", "delta", "z"}) {
            if (has(name)) {
                args.add(name, in(name).permute({0, 2, 1}));
            }
        }
        for (const char* name : {"A", "D", "delta_bias"}) {
            if (has(name)) {
                args.add(name, in(name));
            }
        }
        args.add("B", projection("B")).add("C", projection("C"));
        if (has("initial_state")) {
            state = in("initial_state");
            args.add("state_in", state);  // in place
        }
        args.add("y", y.permute({0, 2, 1})).add("state_out", state);
        forward(layer, args);
        EXPECT_TRUE(close_to(y.values(), file_->doubles("out.y"), tolerance(*file_, level)));
        EXPECT_TRUE(
            close_to(state.values(), file_->doubles("out.last_state"), tolerance(*file_, level)));
    }

    // One token. Heads (B,H,P) are flattened to channels; B and C are then (B,G,N).
    void update(const std::string& level) {
        const Shape x = file_->shape("in.x"), a = file_->shape("in.A"), b = file_->shape("in.B");
        const bool heads = x.size() == 3;
        const int64_t batch = x[0], channels = count_of(x) / batch, states = a.back();
        const int64_t groups = heads ? b.at(1) : 1;
        const Layer layer =
            open(level, channels, states, groups, file_->metadata("dt_softplus") == "true");
        const auto token = [&](const char* name) { return in(name).reshape({batch, 1, channels}); };
        const Shape projection = heads ? Shape{batch, 1, groups, states} : Shape{batch, 1, states};
        const Tensor y = Tensor::filled(dtype_, {batch, 1, channels}, -777);
        const Tensor before = in("state").reshape({batch, channels, states});
        const Tensor after = Tensor::filled(dtype_, before.shape(), -777);
        Args args(layer);
        args.add("u", token("x")).add("delta", token("dt")).add("z", token("z"));
        args.add("A", in("A").reshape({channels, states}));
        args.add("D", in("D").reshape({channels}));
        args.add("delta_bias", in("dt_bias").reshape({channels}));
        args.add("B", in("B").reshape(projection)).add("C", in("C").reshape(projection));
        args.add("y", y).add("state_in", before).add("state_out", after);
        forward(layer, args);
        EXPECT_TRUE(close_to(y.values(), file_->doubles("out.y"), tolerance(*file_, level)));
        EXPECT_TRUE(
            close_to(after.values(), file_->doubles("out.state"), tolerance(*file_, level)));
        EXPECT_EQ(before.values(), in("state").values());  // the input is not written
    }

    std::unique_ptr<SafetensorsFile> file_;
    DType dtype_ = DType::f32;
    Context context_;
};

TEST_P(SelectiveScanOp, EveryLevel) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        if (file_->metadata("op") == "selective_state_update") {
            update(level);
        } else {
            ASSERT_EQ(file_->metadata("op"), "selective_scan");
            scan(level);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, SelectiveScanOp, testing::ValuesIn(scan_cases()),
                         [](const auto& info) { return test_name(info.param); });
INSTANTIATE_TEST_SUITE_P(GoldenStep, SelectiveScanOp, testing::ValuesIn(update_cases()),
                         [](const auto& info) { return test_name(info.param); });

TEST(SelectiveScanOpCases, AreAllOfTheFolder) {
    SEQMIX_NEED_SHARED("golden");
    std::vector<std::string> scans = scan_cases();
    scans.push_back(kComplexCase);
    std::sort(scans.begin(), scans.end());
    EXPECT_EQ(glob_cases(shared_path("golden"), "mamba-op-scan-"), scans);
    EXPECT_EQ(scans.size(), 18u);
    EXPECT_EQ(glob_cases(shared_path("golden"), "mamba-op-update-"), update_cases());
    EXPECT_EQ(update_cases().size(), 2u);
}

TEST(SelectiveScanOpExceptions, ComplexAIsRefused) {
    SEQMIX_NEED_SHARED(std::string("golden/") + kComplexCase + ".safetensors");
    const SafetensorsFile file(shared_path(std::string("golden/") + kComplexCase + ".safetensors"));
    const Context context = make_context();
    const Layer layer =
        make_op(context, "selective_scan_op", Config().set("d_inner", 4).set("d_state", 4));
    const Tensor u = load_tensor(file, "in.u", DType::f32).permute({0, 2, 1});
    const Tensor b = load_tensor(file, "in.B", DType::f32).slice(2, 0, 33).permute({0, 2, 1});
    const Tensor y(DType::f32, u.shape());
    Args args(layer);
    args.add("u", u).add("delta", load_tensor(file, "in.delta", DType::f32).permute({0, 2, 1}));
    args.add("A", load_tensor(file, "in.A", DType::f32)).add("B", b).add("C", b).add("y", y);
    EXPECT_ERROR(SEQMIX_ERR_SHAPE,
                 seqmix_layer_forward(layer.get(), nullptr, args.data(), args.size(), nullptr),
                 testing::HasSubstr("'A'"));
}

}  // namespace
