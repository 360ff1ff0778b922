// The selective scan at every level that this machine runs, against the reference in double.
// Tolerance: 1e-5 of the largest |y| (and of the largest |h|), the project's default for f32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "../support/guarded.h"
#include "../support/simd_probe/levels.h"
#include "primitives/selective_scan/reference.h"
#include "primitives/selective_scan/selective_scan.h"

namespace seqmix {
namespace {

using test::Guarded;

struct Level {
    const char* name;
    const SelectiveScanKernels* kernels;
};
std::vector<Level> levels() {
    std::vector<Level> list;
    for (const Isa isa : test::built_levels()) {
        list.push_back({isa_name(isa), SEQMIX_SELECT_KERNELS(isa, selective_scan_kernels)});
    }
    return list;
}

size_t count(int64_t n) { return static_cast<size_t>(n); }

enum class InPlace { none, u, delta, z };

struct Options {
    bool bias = true, skip = true, gate = true, softplus = true;
    bool B_per_token = true, C_per_token = true;
    bool reversed = false;
    InPlace in_place = InPlace::none;
};
Options options_of(unsigned bits) {
    Options o;
    o.bias = (bits & 1) != 0;
    o.skip = (bits & 2) != 0;
    o.gate = (bits & 4) != 0;
    o.softplus = (bits & 8) != 0;
    o.B_per_token = (bits & 16) != 0;
    o.C_per_token = (bits & 32) != 0;
    o.reversed = (bits & 64) != 0;
    o.in_place = static_cast<InPlace>((bits >> 7) & 3);
    if (o.in_place == InPlace::z && !o.gate) o.in_place = InPlace::u;
    return o;
}

struct Range {
    float low, high;
};
struct Ranges {
    Range delta = {-4.0f, 2.0f}, A = {-8.0f, -0.1f}, u = {-1.0f, 1.0f};
};

// One problem with its truth. Arrays that the kernel sees end at inaccessible pages.
class Problem {
  public:
    Problem(int64_t T, int64_t D, int64_t N, const Options& o, unsigned seed,
            const Ranges& ranges = {})
        : T_(T), D_(D), N_(N), o_(o), random_(seed) {
        u_ = make(T * D, ranges.u);
        delta_ = make(T * D, o.softplus ? ranges.delta : Range{0.0f, 0.4f});
        z_ = make(T * D, {-4.0f, 4.0f});
        A_ = make(N * D, ranges.A);
        B_ = make(o.B_per_token ? T * N : N * D, {-1.0f, 1.0f});
        C_ = make(o.C_per_token ? T * N : N * D, {-1.0f, 1.0f});
        // Without softplus a negative bias would make negative steps, and growing states.
        bias_ = make(D, o.softplus ? Range{-1.0f, 1.0f} : Range{0.0f, 0.5f});
        skip_ = make(D, {-1.0f, 1.0f});
        h_ = make(N * D, {-1.0f, 1.0f});
        y_ = make(T * D, {-9.0f, 9.0f});
    }

    Guarded<float>& A() { return *A_; }
    Guarded<float>& delta() { return *delta_; }
    Guarded<float>& u() { return *u_; }
    Guarded<float>& h() { return *h_; }
    Guarded<float>& bias() { return *bias_; }
    const std::vector<double>& truth() const { return ry_; }

    void solve() {
        const std::vector<double> u = in_order(*u_, D_), delta = in_order(*delta_, D_),
                                  z = in_order(*z_, D_), A = by_channel(*A_),
                                  B = o_.B_per_token ? in_order(*B_, N_) : by_channel(*B_),
                                  C = o_.C_per_token ? in_order(*C_, N_) : by_channel(*C_);
        const std::vector<double> bias(bias_->data(), bias_->data() + D_);
        const std::vector<double> skip(skip_->data(), skip_->data() + D_);
        rh_ = by_channel(*h_);
        ry_.resize(count(T_ * D_));
        reference::selective_scan({T_, D_, N_, 1, u.data(), delta.data(),
                                   o_.bias ? bias.data() : nullptr, A.data(), B.data(), C.data(),
                                   o_.B_per_token, o_.C_per_token, o_.softplus,
                                   o_.skip ? skip.data() : nullptr, o_.gate ? z.data() : nullptr,
                                   rh_.data(), ry_.data()});
    }

    // Tokens [first, first+n) in reading order, channels [c, c+channels).
    void run(const Level& level, int64_t first, int64_t n, int64_t c, int64_t channels) {
        const int64_t sign = o_.reversed ? -1 : 1;
        const int64_t start = T_ == 0 ? 0 : o_.reversed ? T_ - 1 - first : first;
        const auto at = [&](Guarded<float>& a) { return a.data() + start * D_ + c; };
        SelectiveScanArgs args = {};
        args.tokens = n;
        args.channels = channels;
        args.states = N_;
        args.u = at(*u_);
        args.delta = at(*delta_);
        args.delta_bias = o_.bias ? bias_->data() + c : nullptr;
        args.A = A_->data() + c;
        args.A_stride = D_;
        args.B = o_.B_per_token ? B_->data() + start * N_ : B_->data() + c;
        args.B_stride = o_.B_per_token ? sign * N_ : D_;
        args.C = o_.C_per_token ? C_->data() + start * N_ : C_->data() + c;
        args.C_stride = o_.C_per_token ? sign * N_ : D_;
        args.B_per_token = o_.B_per_token;
        args.C_per_token = o_.C_per_token;
        args.softplus = o_.softplus;
        args.D = o_.skip ? skip_->data() + c : nullptr;
        args.z = o_.gate ? at(*z_) : nullptr;
        args.h = h_->data() + c;
        args.h_stride = D_;
        args.y = at(output());
        args.u_stride = args.delta_stride = args.z_stride = args.y_stride = sign * D_;
        const int64_t constants = (o_.B_per_token ? 0 : 1) + (o_.C_per_token ? 0 : 1);
        Guarded<float> scratch(count(selective_scan_scratch(channels, N_, constants)));
        args.scratch = scratch.data();
        level.kernels->scan(args);
    }
    void run_whole(const Level& level) { run(level, 0, T_, 0, D_); }

    Guarded<float>& output() {
        switch (o_.in_place) {
            case InPlace::u: return *u_;
            case InPlace::delta: return *delta_;
            case InPlace::z: return *z_;
            case InPlace::none: break;
        }
        return *y_;
    }

    // Largest errors of y and h, each as a part of its tensor's largest magnitude.
    double error() {
        const std::vector<double> y = in_order(output(), D_);
        return std::max(relative(y, ry_), relative(by_channel(*h_), rh_));
    }

  private:
    std::unique_ptr<Guarded<float>> make(int64_t n, Range range) {
        auto a = std::make_unique<Guarded<float>>(count(n));
        std::uniform_real_distribution<float> uniform(range.low, range.high);
        for (size_t i = 0; i < a->size(); ++i) (*a)[i] = uniform(random_);
        return a;
    }
    std::vector<double> in_order(const Guarded<float>& a, int64_t width) const {
        std::vector<double> out(a.size());
        for (int64_t t = 0; t < T_; ++t) {
            for (int64_t i = 0; i < width; ++i) {
                const int64_t from = o_.reversed ? T_ - 1 - t : t;
                out[count(t * width + i)] = static_cast<double>(a[count(from * width + i)]);
            }
        }
        return out;
    }
    std::vector<double> by_channel(const Guarded<float>& a) const {
        std::vector<double> out(a.size());
        for (int64_t n = 0; n < N_; ++n) {
            for (int64_t d = 0; d < D_; ++d) {
                out[count(d * N_ + n)] = static_cast<double>(a[count(n * D_ + d)]);
            }
        }
        return out;
    }
    static double relative(const std::vector<double>& got, const std::vector<double>& expected) {
        double largest = 1e-30, worst = 0.0;
        for (size_t i = 0; i < expected.size(); ++i) {
            EXPECT_LE(std::fabs(expected[i]), 1e30) << "the problem itself overflows";
            largest = std::max(largest, std::fabs(expected[i]));
            const double error = std::fabs(got[i] - expected[i]);
            worst = std::isfinite(got[i]) ? std::max(worst, error) : 1e30;
        }
        return worst / largest;
    }

    int64_t T_, D_, N_;
    Options o_;
    std::mt19937 random_;
    std::unique_ptr<Guarded<float>> u_, delta_, z_, A_, B_, C_, bias_, skip_, h_, y_;
    std::vector<double> ry_, rh_;
};

TEST(SelectiveScanKernel, MatchesReferenceAtAllShapes) {
    for (const Level& level : levels()) {
        const int64_t w = level.kernels->width;
        unsigned seed = 1;
        for (const int64_t T : {0, 1, 2, 7, 8, 9, 63, 64, 65, 257}) {
            for (const int64_t D : {int64_t{1}, int64_t{3}, w - 1, w, w + 1, int64_t{33}}) {
                for (const int64_t N : {1, 2, 3, 8, 15, 16, 17, 24, 64}) {
                    // 353 is coprime to 512: every combination of options comes by.
                    Problem p(T, D, N, options_of(seed * 353 % 512), seed);
                    p.solve();
                    p.run_whole(level);
                    ASSERT_LE(p.error(), 1e-5) << level.name << " T=" << T << " D=" << D
                                               << " N=" << N << " options " << seed * 353 % 512;
                    ++seed;
                }
            }
        }
    }
}

TEST(SelectiveScanKernel, EveryCombinationOfOptions) {
    for (const Level& level : levels()) {
        for (unsigned bits = 0; bits < 512; ++bits) {
            Problem p(19, level.kernels->width + 3, 19, options_of(bits), bits);
            p.solve();
            p.run_whole(level);
            ASSERT_LE(p.error(), 1e-5) << level.name << " options " << bits;
        }
    }
}

TEST(SelectiveScanKernel, ManyChannelsAndBlocks) {
    for (const Level& level : levels()) {
        for (const int64_t D :
             {int64_t{255}, int64_t{256}, int64_t{257}, int64_t{530}, int64_t{1531}}) {
            Problem p(21, D, 16, Options{}, 5);
            p.solve();
            p.run_whole(level);
            ASSERT_LE(p.error(), 1e-5) << level.name << " D=" << D;
            Problem q(21, D, 16, Options{}, 5);
            q.solve();
            const int64_t block = selective_scan_channels(D, 16);
            ASSERT_EQ(block % level.kernels->width, 0);
            for (int64_t c = 0; c < D; c += block) q.run(level, 0, 21, c, std::min(block, D - c));
            ASSERT_LE(q.error(), 1e-5) << level.name << " D=" << D;
        }
    }
}

// Cuts of time give the same bits: the work on a token does not depend on its place in a tile.
TEST(SelectiveScanKernel, AnyCutGivesTheSameBits) {
    for (const Level& level : levels()) {
        for (unsigned trial = 0; trial < 40; ++trial) {
            const int64_t T = 70, D = level.kernels->width + 5, N = 1 + trial % 20;
            Options o = options_of(trial * 37 % 512);
            Problem whole(T, D, N, o, trial), cut(T, D, N, o, trial);
            whole.run_whole(level);
            std::mt19937 random(trial);
            for (int64_t t = 0; t < T;) {
                const int64_t limit = trial % 3 == 0 ? 1 : 30;
                const int64_t n =
                    std::min(T - t, static_cast<int64_t>(random() % 31) % (limit + 1));
                cut.run(level, t, n, 0, D);
                t += n;
            }
            for (int64_t i = 0; i < T * D; ++i) {
                ASSERT_EQ(whole.output()[count(i)], cut.output()[count(i)])
                    << level.name << " trial " << trial << " i=" << i;
            }
            for (int64_t i = 0; i < N * D; ++i) ASSERT_EQ(whole.h()[count(i)], cut.h()[count(i)]);
        }
    }
}

// A state that remembers about 1000, then 10000 tokens. In the second the rounding errors of the
// state add up over its memory, and without a fused multiply-add there are two a step: 2e-5.
TEST(SelectiveScanKernel, LongRunWithDecayNearOne) {
    for (const Level& level : levels()) {
        for (const float delta : {-7.0f, -9.0f}) {
            Options o;
            o.gate = false;
            o.bias = false;
            Ranges ranges;
            ranges.delta = {delta - 0.5f, delta + 0.5f};  // steps about 1e-3, 1e-4
            ranges.A = {-2.0f, -0.5f};
            Problem p(65536, 3, 4, o, 3, ranges);
            p.solve();
            p.run_whole(level);
            EXPECT_LE(p.error(), delta < -8.0f ? 2e-5 : 1e-5) << level.name << " delta " << delta;
            RecordProperty(level.name, std::to_string(p.error()));
        }
    }
}

// Decays that underflow to 0 leave the input term alone; no 0 times infinity, no NaN.
TEST(SelectiveScanKernel, DecayUnderflows) {
    for (const Level& level : levels()) {
        Ranges ranges;
        ranges.delta = {5.0f, 30.0f};
        ranges.A = {-3e4f, -10.0f};
        Problem p(50, level.kernels->width + 1, 16, Options{}, 4, ranges);
        p.solve();
        p.run_whole(level);
        EXPECT_LE(p.error(), 1e-5) << level.name;
    }
}

TEST(SelectiveScanKernel, GrowingStateWherePositiveAAllowsIt) {
    for (const Level& level : levels()) {
        Ranges ranges;
        ranges.A = {-1.0f, 1.0f};
        ranges.delta = {-4.0f, 0.0f};
        Problem p(20, 17, 8, Options{}, 6, ranges);
        p.solve();
        p.run_whole(level);
        EXPECT_LE(p.error(), 1e-5) << level.name;
    }
}

TEST(SelectiveScanKernel, SoftplusIsTheIdentityAboveTwenty) {
    for (const Level& level : levels()) {
        Options o;
        o.bias = false;
        Problem p(64, 5, 2, o, 8);
        for (size_t i = 0; i < p.delta().size(); ++i) {
            p.delta()[i] = 19.9f + 0.001f * float(i % 200) + (i % 7 == 0 ? 1e4f : 0.0f);
            p.u()[i] *= 0.01f;
        }
        for (size_t i = 0; i < p.A().size(); ++i) p.A()[i] *= 0.01f;
        p.solve();
        p.run_whole(level);
        EXPECT_LE(p.error(), 1e-5) << level.name;
    }
}

TEST(SelectiveScanKernel, NanStaysInItsChannel) {
    for (const Level& level : levels()) {
        Problem p(12, 20, 16, Options{}, 9);
        p.u()[count(5 * 20 + 7)] = NAN;
        p.run_whole(level);
        for (int64_t t = 0; t < 12; ++t) {
            for (int64_t d = 0; d < 20; ++d) {
                EXPECT_EQ(std::isnan(p.output()[count(t * 20 + d)]), d == 7 && t >= 5)
                    << level.name;
            }
        }
    }
}

// Figures worked by hand in the specification of the mixer.
struct Worked {
    float u[4] = {1.0f, -2.0f, 0.5f, 3.0f};
    float delta[4] = {0.0f, 1.0f, -1.0f, 0.5f};
    float B[8] = {1.0f, 0.5f, 0.2f, -0.3f, -1.0f, 0.4f, 0.7f, 0.1f};
    float C[8] = {0.5f, 1.0f, 1.0f, -1.0f, 0.3f, 0.6f, -0.2f, 0.9f};
    float z[4] = {1.0f, 0.5f, -1.0f, 2.0f};
    float A[2] = {-1.0f, -2.0f};
    float skip = 0.25f, bias = -1.0f;
    float h[2] = {0.0f, 0.0f};
};
const float kWorkedY[4] = {0.56326169f, -1.07567405f, 0.30113329f, 0.83197235f};
const float kWorkedGated[4] = {0.41177729f, -0.33478167f, -0.08098721f, 1.46559763f};

TEST(SelectiveScanKernel, WorkedNumbers) {
    for (const Level& level : levels()) {
        for (const bool gate : {false, true}) {
            Worked w;
            float y[4];
            std::vector<float> scratch(count(selective_scan_scratch(1, 2, 0)));
            level.kernels->scan({4,
                                 1,
                                 2,
                                 w.u,
                                 1,
                                 w.delta,
                                 1,
                                 &w.bias,
                                 w.A,
                                 1,
                                 w.B,
                                 2,
                                 w.C,
                                 2,
                                 true,
                                 true,
                                 true,
                                 &w.skip,
                                 gate ? w.z : nullptr,
                                 1,
                                 w.h,
                                 1,
                                 y,
                                 1,
                                 scratch.data()});
            for (int t = 0; t < 4; ++t) {
                EXPECT_NEAR(y[t], gate ? kWorkedGated[t] : kWorkedY[t], 1e-6f) << level.name;
            }
            EXPECT_NEAR(w.h[0], 0.88992234f, 1e-6f);
            EXPECT_NEAR(w.h[1], 0.28884091f, 1e-6f);
        }
    }
}

TEST(SelectiveScanReference, WorkedNumbersAndMatrix) {
    const Worked w;
    const auto wide = [](const float* p, int n) {
        std::vector<double> out;
        for (int i = 0; i < n; ++i) {
            out.push_back(std::round(static_cast<double>(p[i]) * 1e4) / 1e4);
        }
        return out;
    };
    const std::vector<double> u = wide(w.u, 4), delta = wide(w.delta, 4), B = wide(w.B, 8),
                              C = wide(w.C, 8), A = wide(w.A, 2);
    const double skip = 0.25, bias = -1.0;
    double h[2] = {0, 0}, y[4];
    const reference::SelectiveScanRef p = {
        4,        1,    2,    1,    u.data(), delta.data(), &bias, A.data(), B.data(),
        C.data(), true, true, true, &skip,    nullptr,      h,     y};
    reference::selective_scan(p);
    for (int t = 0; t < 4; ++t) EXPECT_NEAR(y[t], static_cast<double>(kWorkedY[t]), 6e-8);
    double M[16], v[4];
    reference::selective_scan_matrix(p, 0, 0, 4, M, v);
    const double last[4] = {-0.00658154, -0.07145624, 0.03350593, 0.22629615};
    for (int j = 0; j < 4; ++j) EXPECT_NEAR(M[12 + j], last[j], 1e-8);
    for (int i = 0; i < 4; ++i) {
        double sum = 0.0;
        for (int j = 0; j < 4; ++j) sum += M[4 * i + j] * v[j];
        EXPECT_NEAR(sum, y[i], 1e-14);
    }
    double rows[8];
    reference::selective_scan_matrix(p, 0, 1, 2, rows, nullptr);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(rows[i], M[4 + i]);
}

}  // namespace
}  // namespace seqmix
