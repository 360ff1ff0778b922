// ONNX's stored node tests of DFT and STFT, run on the Fourier transforms. A DFT's input is (..., 1)
// real or (..., 2) complex, transformed along one axis; an STFT is the DFT of windowed frames.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "../support/onnx_tensor.h"
#include "../support/shared_data.h"
#include "../support/simd_probe/levels.h"
#include "primitives/fft/fft.h"

namespace seqmix {
namespace {

using seqmix_test::OnnxTensor;

const std::vector<std::string>& cases() {
    static const std::vector<std::string> names = {
        "dft",
        "dft_axis",
        "dft_axis_opset19",
        "dft_inverse_opset19",
        "dft_irfft_opset19",
        "dft_opset19",
        "dft_rfft",
        "dft_rfft_opset19",
        "stft",
    };
    return names;
}

size_t count(int64_t n) { return static_cast<size_t>(n); }

int64_t product(const std::vector<int64_t>& shape, size_t first, size_t last) {
    int64_t size = 1;
    for (size_t i = first; i < last; ++i) size *= shape[i];
    return size;
}

// rtol 1e-3 of the ONNX backend, and its atol 1e-7, here of the largest output where that is above
// 1: frequencies that are zero come out as the rounding of sums of that size, in f32 (1.9e-6 beside
// 450 in `dft`) as in the stored numbers (1.9e-7 beside 45 in `dft_inverse`).
template <typename Real>
void expect_close(const std::vector<Real>& got, const std::vector<double>& expected) {
    ASSERT_EQ(got.size(), expected.size());
    double atol = 1e-7;
    for (const double y : expected) atol = std::max(atol, 1e-7 * std::fabs(y));
    for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(static_cast<double>(got[i]), expected[i], atol + 1e-3 * std::fabs(expected[i]))
            << "element " << i;
    }
}

// x: (rows, n or n/2+1, channels, parts) to (rows, count, channels, parts).
struct Dft {
    int64_t rows, n, channels;
    bool inverse, onesided;
};

template <typename Real>
std::vector<Real> run(const FftKernels& kernels, const Dft& p, const std::vector<double>& values,
                      int64_t parts) {
    const int64_t half = p.n / 2 + 1, D = p.channels;
    const int64_t in_rows = p.onesided && p.inverse ? half : p.n;
    const int64_t out_rows = p.onesided && !p.inverse ? half : p.n;
    const int64_t out_parts = p.onesided && p.inverse ? 1 : 2;
    const std::vector<Real> x(values.begin(), values.end());
    std::vector<Real> y(count(p.rows * out_rows * D * out_parts));
    const Fft<Real> complex(p.n, kernels, {});
    const RealFft<Real> real(p.n, kernels, {});
    std::vector<Real> scratch(count(std::max(complex.scratch(1), real.scratch(1))));
    // Complex elements are interleaved: a channel is a column of stride 2 D.
    for (int64_t i = 0; i < p.rows * D; ++i) {
        const Real* from = x.data() + (i / D * in_rows * D + i % D) * parts;
        Real* to = y.data() + (i / D * out_rows * D + i % D) * out_parts;
        const FftInput<Real> in = {from, from + 1, D * parts, in_rows, parts == 2 ? in_rows : 0};
        const FftOutput<Real> out = {to, to + 1, D * 2, out_rows, out_rows};
        if (!p.onesided) {
            (p.inverse ? complex.inverse(in, out, 1, scratch.data())
                       : complex.forward(in, out, 1, scratch.data()));
        } else if (p.inverse) {
            real.inverse(in, to, p.n, D, 1, scratch.data());
        } else {
            real.forward(from, p.n, D * parts, out, 1, scratch.data());
        }
    }
    return y;
}

class OnnxDft : public testing::TestWithParam<std::string> {};

TEST_P(OnnxDft, EveryLevel) {
    const std::string folder = "data/onnx-node/test_" + GetParam();
    SEQMIX_NEED_SHARED(folder);
    const seqmix_test::OnnxModel model =
        seqmix_test::read_onnx_model(seqmix_test::shared_path(folder + "/model.onnx"));
    ASSERT_EQ(model.nodes.size(), 1u);
    const seqmix_test::OnnxNode& node = model.nodes[0];
    const auto load = [&](const std::string& name) {
        return seqmix_test::read_onnx_tensor(
            seqmix_test::shared_path(folder + "/test_data_set_0/" + name + ".pb"));
    };
    // The tensor that the node calls `name`, if it has it.
    const auto input = [&](size_t i, OnnxTensor& tensor) {
        if (i >= node.inputs.size() || node.inputs[i].empty()) return false;
        for (size_t k = 0; k < model.graph_inputs.size(); ++k) {
            if (model.graph_inputs[k] == node.inputs[i]) {
                tensor = load("input_" + std::to_string(k));
                return true;
            }
        }
        return false;
    };
    const auto attribute = [&](const char* name, int64_t otherwise) {
        const auto found = node.attributes.find(name);
        return found == node.attributes.end() ? otherwise : found->second.integer;
    };
    OnnxTensor x, other;
    ASSERT_TRUE(input(0, x));
    const OnnxTensor y = load("output_0");
    const size_t rank = x.shape.size();
    const int64_t parts = x.shape.back();
    for (const Isa isa : test::built_levels()) {
        SCOPED_TRACE(isa_name(isa));
        const FftKernels& kernels = *SEQMIX_SELECT_KERNELS(isa, fft_kernels);
        const auto check = [&](const Dft& p, const std::vector<double>& values, int64_t in_parts) {
            expect_close(run<float>(kernels, p, values, in_parts), y.values);
            expect_close(run<double>(kernels, p, values, in_parts), y.values);
        };
        if (node.op_type == "STFT") {
            ASSERT_TRUE(input(1, other));
            const auto step = static_cast<int64_t>(other.values.at(0));
            ASSERT_EQ(parts, 1);
            OnnxTensor window, length;
            const bool windowed = input(2, window);
            int64_t n = windowed ? product(window.shape, 0, window.shape.size()) : 0;
            if (input(3, length)) n = static_cast<int64_t>(length.values.at(0));
            const int64_t batch = x.shape[0], T = x.shape[1], frames = (T - n) / step + 1;
            std::vector<double> cut;
            for (int64_t i = 0; i < batch * frames * n; ++i) {
                const int64_t b = i / n / frames, frame = i / n % frames;
                cut.push_back(x.values[count(b * T + frame * step + i % n)] *
                              (windowed ? window.values[count(i % n)] : 1.0));
            }
            const bool onesided = attribute("onesided", 1) != 0;
            check({batch * frames, n, 1, false, onesided}, cut, 1);
            continue;
        }
        ASSERT_EQ(node.op_type, "DFT");
        // The axis is an attribute up to opset 19 (1 by default), an input from 20 on (-2).
        int64_t axis = attribute("axis", model.opset < 20 ? 1 : -2);
        if (input(2, other)) axis = static_cast<int64_t>(other.values.at(0));
        if (axis < 0) axis += static_cast<int64_t>(rank);
        const auto at = static_cast<size_t>(axis);
        const Dft p = {product(x.shape, 0, at), std::max(x.shape[at], y.shape[at]),
                       product(x.shape, at + 1, rank - 1), attribute("inverse", 0) != 0,
                       attribute("onesided", 0) != 0};
        check(p, x.values, parts);
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, OnnxDft, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param; });

TEST(OnnxDftCases, AreAllOfTheFolder) {
    SEQMIX_NEED_SHARED("data/onnx-node");
    size_t found = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(seqmix_test::shared_path("data/onnx-node"))) {
        const std::string name = entry.path().filename().string();
        found += name.rfind("test_dft", 0) == 0 || name.rfind("test_stft", 0) == 0 ? 1 : 0;
    }
    EXPECT_EQ(found, cases().size());
    EXPECT_EQ(cases().size(), 9u);
}

}  // namespace
}  // namespace seqmix
