// Initial values of s4, s4d and dss, as the authors' (mixers/s4/s4.h).
#include <algorithm>
#include <cmath>

#include "mixers/s4/layer.h"
#include "primitives/hippo/hippo.h"

namespace seqmix::mixers::s4 {
namespace {

using reference::S4Kind;
using reference::S4Transform;
using Complex = std::complex<double>;

constexpr double kPi = 3.14159265358979323846;

// x with transform(x) = value > 0.
double invert(S4Transform transform, double value) {
    switch (transform) {
        case S4Transform::exp: return portable_log(value);
        case S4Transform::sigmoid: return portable_log(value) - portable_log(1 - value);
        // log(e^v - 1) without cancellation where v is small, or overflow where it is large.
        case S4Transform::softplus: return value + portable_log(-std::expm1(-value));
        default: return value;
    }
}

hippo::Modes measured(hippo::Measure measure, int64_t n) {
    hippo::Modes modes;
    if (!hippo::modes(measure, n, &modes)) {
        throw std::
            bad_alloc();  // a symmetric eigenproblem of finite numbers fails for no other reason
    }
    return modes;
}

// lambda (negative imaginary part), B and P of copy s.
hippo::Modes initial_modes(const S4Plan& plan, int64_t s, Random& random) {
    const std::string& init = plan.attributes.str("init");
    const int64_t M = plan.M, n = 2 * M;
    const auto named = [&](const char* name) { return init == name; };
    if (named("legs") || (named("hippo") && 2 * s < plan.S)) {
        return measured(hippo::Measure::legs, n);
    }
    if (named("legt")) return measured(hippo::Measure::legt, n);
    if (named("lagt")) return measured(hippo::Measure::lagt, n);
    if (named("fout") || named("hippo")) return measured(hippo::Measure::fout, n);
    hippo::Modes modes;
    const auto N = static_cast<double>(n);
    const bool inverse = named("inv") || (named("diag") && 2 * s < plan.S);
    for (int64_t i = 0; i < M; ++i) {
        const auto k = static_cast<double>(i);
        Complex lambda = {-0.5, 0.0};
        if (named("real")) {
            lambda = {-(k + 1), 0.0};
        } else if (inverse) {
            lambda.imag(-N / kPi * (N / (2 * k + 1) - 1));
        } else if (named("inv2")) {
            lambda.imag(-N / kPi * (N / (k + 1) - 1));
        } else if (named("quad")) {
            lambda.imag(-(1 + 2 * k) * (1 + 2 * k) / kPi);
        } else if (named("rand")) {
            lambda.imag(-portable_exp(random.normal()));
        } else {
            lambda.imag(-kPi * k);
        }
        modes.lambda.push_back(lambda);
        modes.B.emplace_back(1.0);
    }
    return modes;
}

// DSS: eigenvalues of the antisymmetric part of LegS of size 2 M, less 1/2; the positive half.
std::vector<Complex> skew_modes(int64_t M) {
    std::vector<Complex> lambda = measured(hippo::Measure::legs, 2 * M).lambda;
    for (Complex& value : lambda) {
        value = std::conj(value);
    }
    return lambda;
}

}  // namespace

void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const S4Plan&>(base);
    const int64_t M = plan.M;
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) {
        count *= size;
    }
    const auto normal = [&](double deviation) {
        for (int64_t i = 0; i < count; ++i) {
            out[i] = deviation * random.normal();
        }
    };
    const auto step = [&] {
        const double low = portable_log(plan.attributes.f64("dt_min"));
        const double high = portable_log(plan.attributes.f64("dt_max"));
        return random.uniform(low, high);
    };
    // write(copy, mode, value of it) over all copies.
    const auto for_modes = [&](auto&& write) {
        hippo::Modes modes;
        for (int64_t s = 0; s < plan.S; ++s) {
            // The same for the copies of a half, but for random ones.
            if (s == 0 || 2 * s / plan.S != 2 * (s - 1) / plan.S ||
                plan.attributes.str("init") == "rand") {
                modes = initial_modes(plan, s, random);
            }
            for (int64_t n = 0; n < M; ++n) {
                write(s * M + n, n, modes);
            }
        }
    };
    const auto put_complex = [&](int64_t i, Complex value) {
        if (plan.real) {
            out[i] = value.real();
        } else {
            out[2 * i] = value.real();
            out[2 * i + 1] = value.imag();
        }
    };
    switch (slot.slot) {
        case kStep:
            for (int64_t i = 0; i < count; ++i) {
                out[i] = invert(plan.step_transform, portable_exp(step()));
            }
            return;
        case kDirectStep:
            for (int64_t i = 0; i < count; ++i) {
                out[i] = portable_exp(step());
            }
            return;
        case kLogDt:
            for (int64_t i = 0; i < count; i += 2) {
                out[i] = out[i + 1] = step();
            }
            return;
        case kAReal:
            return for_modes([&](int64_t i, int64_t n, const hippo::Modes& modes) {
                const double value = -modes.lambda[static_cast<size_t>(n)].real();
                out[i] = invert(plan.real_transform, std::max(value, 1e-4));
            });
        case kAImag:
            return for_modes([&](int64_t i, int64_t n, const hippo::Modes& modes) {
                out[i] = std::max(-modes.lambda[static_cast<size_t>(n)].imag(), 1e-4);
            });
        case kPoles:
            return for_modes([&](int64_t i, int64_t n, const hippo::Modes& modes) {
                put_complex(i, modes.lambda[static_cast<size_t>(n)]);
            });
        case kB:
            return for_modes([&](int64_t i, int64_t n, const hippo::Modes& modes) {
                put_complex(i, modes.B[static_cast<size_t>(n)]);
            });
        case kP:
            return for_modes([&](int64_t i, int64_t n, const hippo::Modes& modes) {
                const auto ranks = static_cast<int64_t>(modes.P.size()) / M;
                for (int64_t r = 0; r < plan.rank; ++r) {
                    put_complex(r * plan.S * M + i,
                                r < ranks ? modes.P[static_cast<size_t>(r * M + n)] : Complex());
                }
            });
        case kLambda: {
            const std::vector<Complex> lambda = skew_modes(M);
            for (int64_t n = 0; n < M; ++n) {
                const Complex value = lambda[static_cast<size_t>(n)];
                out[2 * n] = plan.real_transform == S4Transform::exp ? portable_log(-value.real())
                                                                     : value.real();
                out[2 * n + 1] = plan.imag_transform == S4Transform::exp
                                     ? portable_log(value.imag())
                                     : value.imag();
            }
            return;
        }
        case kC:
        case kResidues: return normal(plan.real ? 1.0 : std::sqrt(0.5));
        case kOutput:
        case kOutputBias: {
            const double bound = 1 / std::sqrt(static_cast<double>(plan.C * plan.D));
            for (int64_t i = 0; i < count; ++i) {
                out[i] = random.uniform(-bound, bound);
            }
            return;
        }
        default: normal(1.0);  // D, W
    }
}

}  // namespace seqmix::mixers::s4
