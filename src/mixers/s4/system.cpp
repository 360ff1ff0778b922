// Stored parameters to the coefficients of the recurrence, in double (mixers/s4/s4.h).
#include <algorithm>
#include <cmath>

#include "mixers/s4/layer.h"
#include "primitives/cauchy/cauchy.h"
#include "primitives/dense/dense.h"
#include "primitives/diagonal_scan/reference.h"
#include "primitives/vandermonde/vandermonde.h"

namespace seqmix::mixers::s4 {
namespace {

using Complex = std::complex<double>;
using reference::S4Kind;
using reference::S4Rule;
using reference::S4Transform;

std::vector<double> read(const Weight& weight) {
    const Array<double> values = weight_f64(weight, Allocator());
    return {values.data(), values.data() + values.size()};
}

double apply(S4Transform transform, double x) {
    switch (transform) {
        case S4Transform::none: return x;
        case S4Transform::exp: return std::exp(x);
        case S4Transform::relu: return std::max(x, 0.0) + 1e-4;
        case S4Transform::sigmoid: return 1 / (1 + std::exp(-x));
        case S4Transform::softplus: return x > 20 ? x : std::log1p(std::exp(x));
    }
    return 0;
}

Complex at(const std::vector<double>& values, int64_t i) {
    const auto p = static_cast<size_t>(2 * i);
    return {values[p], values[p + 1]};
}

// e^z - 1; the difference would lose 1e-4 of it in f32 and 1e-13 here at |z| = 1e-3.
Complex expm1(Complex z) {
    const double half = std::sin(z.imag() / 2);
    return {std::expm1(z.real()) * std::cos(z.imag()) - 2 * half * half,
            std::exp(z.real()) * std::sin(z.imag())};
}

// Reads the parameters of one mode.
class Reader {
  public:
    Reader(const S4Plan& plan, const Parameters& from) : plan_(plan), from_(from) {}

    Complex lambda(int64_t d, int64_t n) const {
        const auto i = static_cast<size_t>(copy(d, n));
        double re = -apply(plan_.real_transform, from_.A_real[i]);
        if (plan_.kind == S4Kind::dss) {
            re = std::min(re, plan_.clip);
        }
        const double im = plan_.real ? 0.0 : apply(plan_.imag_transform, from_.A_imag[i]);
        return {re, plan_.imag_sign * im};
    }
    Complex B(int64_t d, int64_t n) const {
        return from_.B.empty() ? Complex(1.0) : at(from_.B, copy(d, n));
    }
    Complex P(int64_t r, int64_t d, int64_t n) const {
        return at(from_.P, r * plan_.S * plan_.M + copy(d, n));
    }
    Complex C(int64_t k, int64_t d, int64_t n) const {
        return at(from_.C, (k * plan_.D + d) * plan_.M + n);
    }
    // The step, without the rate.
    double step(int64_t d, int64_t n) const {
        const int64_t i = d * plan_.step_columns + (plan_.step_columns > 1 ? n : 0);
        return apply(plan_.step_transform, from_.step[static_cast<size_t>(i)]);
    }
    // Steps of the real and the imaginary part times lambda, with the rate.
    Complex scaled(int64_t d, int64_t n) const {
        const Complex l = lambda(d, n);
        if (plan_.kind == S4Kind::dss) {
            const auto i = static_cast<size_t>(2 * d);
            return {plan_.rate * std::exp(from_.step[i]) * l.real(),
                    plan_.rate * std::exp(from_.step[i + 1]) * l.imag()};
        }
        return plan_.rate * step(d, n) * l;
    }

  private:
    int64_t copy(int64_t d, int64_t n) const { return d % plan_.S * plan_.M + n; }
    const S4Plan& plan_;
    const Parameters& from_;
};

void add_diagonal_mode(const S4Plan& plan, const Reader& from, int64_t d, int64_t n,
                       DiagonalSystem& system, Complex* gain) {
    const Complex l = from.lambda(d, n), z = from.scaled(d, n);
    const double dt = plan.kind == S4Kind::dss ? 1.0 : plan.rate * from.step(d, n);
    Complex a = std::exp(z), less = expm1(z), more = a + 1.0, b = 1.0;
    *gain = plan.factor;
    switch (plan.rule) {
        case S4Rule::zoh: b = (std::norm(l) > 0 ? less / l : dt) * from.B(d, n); break;
        case S4Rule::bilinear: {
            const Complex below = 1.0 - 0.5 * z;
            a = (1.0 + 0.5 * z) / below;
            less = z / below;
            more = 2.0 / below;
            b = dt / below * from.B(d, n);
            break;
        }
        case S4Rule::softmax: {
            // A growing mode counts from the other end of the sequence.
            const double s = z.real() > 0 ? -1.0 : 1.0;
            const auto length = static_cast<double>(plan.kernel_length);
            const Complex x = expm1(s * length * z) * l;
            *gain =
                plan.factor * expm1(s * z) * std::conj(x) / (std::norm(x) + 1e-7) * from.B(d, n);
            if (z.real() > 0) {
                *gain *= std::exp(-(length - 1) * z);
            }
            break;
        }
        case S4Rule::exp:
            *gain = plan.factor * less * std::conj(l) / std::max(std::norm(l), 1e-7) * from.B(d, n);
            break;
        case S4Rule::exp_no_scale: *gain = plan.factor * from.B(d, n); break;
    }
    system.a.push_back(a);
    system.a_minus_one.push_back(less);
    system.a_plus_one.push_back(more);
    system.b.push_back(b);
}

// One channel of a DPLR system at step dt: a, b, w, g of the recurrence.
struct Dplr {
    std::vector<Complex> a, less, more, b;
    std::vector<Complex> w, g;  // (rank,M)
};

Status discretise(const S4Plan& plan, const Reader& from, int64_t d, double dt, Dplr* out) {
    const int64_t M = plan.M, ranks = plan.rank;
    std::vector<Complex> D;
    for (int64_t n = 0; n < M; ++n) {
        const Complex l = from.lambda(d, n);
        D.push_back(1.0 / (2.0 / dt - l));
        out->a.push_back((2.0 / dt + l) * D.back());
        out->less.push_back(2.0 * l * D.back());
        out->more.push_back(4.0 / dt * D.back());
    }
    // R = I + P* D P and s = P* D B, over both conjugate halves: real. [R^-1, R^-1 s] by one solution.
    const auto half = [&](int64_t r, const auto& right) {
        double sum = 0.0;
        for (int64_t n = 0; n < M; ++n) {
            sum += 2.0 * (std::conj(from.P(r, d, n)) * D[static_cast<size_t>(n)] * right(n)).real();
        }
        return sum;
    };
    std::vector<double> R, right;
    for (int64_t r = 0; r < ranks; ++r) {
        for (int64_t q = 0; q < ranks; ++q) {
            R.push_back((r == q ? 1.0 : 0.0) + half(r, [&](int64_t n) { return from.P(q, d, n); }));
            right.push_back(r == q ? 1.0 : 0.0);
        }
        right.push_back(half(r, [&](int64_t n) { return from.B(d, n); }));
    }
    if (ranks > 0 && !dense::solve(ranks, R, ranks + 1, right)) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, plan.mixer->schema->type,
                    ": tensor 'kernel.P': channel ", d, " has no bilinear form (1 + P* D P is 0)");
    }
    const auto solved = [&](int64_t r, int64_t column) {
        return right[static_cast<size_t>(r * (ranks + 1) + column)];
    };
    for (int64_t n = 0; n < M; ++n) {
        Complex b = from.B(d, n);
        for (int64_t r = 0; r < ranks; ++r) {
            b -= from.P(r, d, n) * solved(r, ranks);
        }
        out->b.push_back(2.0 * D[static_cast<size_t>(n)] * b);
    }
    for (int64_t r = 0; r < ranks; ++r) {
        for (int64_t n = 0; n < M; ++n) {
            Complex column;
            for (int64_t q = 0; q < ranks; ++q) {
                column += from.P(q, d, n) * solved(q, r);
            }
            out->w.push_back(2.0 * std::conj(from.P(r, d, n)) * D[static_cast<size_t>(n)]);
            out->g.push_back(-4.0 / dt * D[static_cast<size_t>(n)] * column);
        }
    }
    return Status();
}

// The step as a real matrix (2M,2M) on (re x_0 .. re x_{M-1}, im x_0 ..).
std::vector<double> as_matrix(const S4Plan& plan, const Dplr& from) {
    const int64_t M = plan.M, n = 2 * M;
    std::vector<double> matrix(static_cast<size_t>(n * n), 0.0);
    const auto entry = [&](int64_t i, int64_t j) -> double& {
        return matrix[static_cast<size_t>(i * n + j)];
    };
    for (int64_t i = 0; i < M; ++i) {
        const Complex a = from.a[static_cast<size_t>(i)];
        entry(i, i) = entry(M + i, M + i) = a.real();
        entry(i, M + i) = -a.imag();
        entry(M + i, i) = a.imag();
        for (int64_t r = 0; r < plan.rank; ++r) {
            const Complex g = from.g[static_cast<size_t>(r * M + i)];
            for (int64_t j = 0; j < M; ++j) {
                const Complex w = from.w[static_cast<size_t>(r * M + j)];
                entry(i, j) += g.real() * w.real();
                entry(i, M + j) -= g.real() * w.imag();
                entry(M + i, j) += g.imag() * w.real();
                entry(M + i, M + j) -= g.imag() * w.imag();
            }
        }
    }
    return matrix;
}

// The C of C (I - A^l) for all kernels of a channel: C (K,M), replaced.
Status unfold(const S4Plan& plan, const Reader& from, int64_t d, std::vector<Complex>* C) {
    const int64_t M = plan.M, n = 2 * M;
    Dplr step;
    SEQMIX_TRY(discretise(plan, from, d, from.step(d, 0), &step));
    const std::vector<double> power = dense::power(n, as_matrix(plan, step), plan.l_kernel);
    // y = Re C x is the row (re C, -im C); its transposed equation is (I - A^l)^T c = c~.
    std::vector<double> left, right;
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            left.push_back((i == j ? 1.0 : 0.0) - power[static_cast<size_t>(j * n + i)]);
        }
        for (int64_t k = 0; k < plan.K; ++k) {
            const Complex c = (*C)[static_cast<size_t>(k * M + i % M)];
            right.push_back(i < M ? c.real() : -c.imag());
        }
    }
    if (!dense::solve(n, left, plan.K, right)) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, plan.mixer->schema->type,
                    ": tensor 'kernel.C': channel ", d,
                    " cannot be unfolded, I - A^l_kernel (l_kernel ", plan.l_kernel,
                    ") is singular or not finite");
    }
    for (int64_t k = 0; k < plan.K; ++k) {
        for (int64_t i = 0; i < M; ++i) {
            (*C)[static_cast<size_t>(k * M + i)] = {
                right[static_cast<size_t>(i * plan.K + k)],
                -right[static_cast<size_t>((M + i) * plan.K + k)]};
        }
    }
    return Status();
}

// The true C of a channel, (K,M).
Status true_c(const S4Plan& plan, const Reader& from, int64_t d, std::vector<Complex>* C) {
    C->clear();
    for (int64_t k = 0; k < plan.K; ++k) {
        for (int64_t n = 0; n < plan.M; ++n) {
            C->push_back(from.C(k, d, n));
        }
    }
    return plan.l_kernel > 0 ? unfold(plan, from, d, C) : Status();
}

// Whether the normal part decays over a kernel. Where it does not (LegT, LagT, FouT), its poles stand on
// the line of the nodes, and what is large next to one cancels in the low-rank correction: 1e-5 of the
// kernel in f32.
bool decays(const S4Plan& plan, const Reader& from, int64_t d, double dt, int64_t length) {
    for (int64_t n = 0; n < plan.M; ++n) {
        if (-dt * from.lambda(d, n).real() * static_cast<double>(length) < 0.05) {
            return false;
        }
    }
    return true;
}

// Then the taps are an impulse's, in double.
void impulse_response(const S4Plan& plan, const Dplr& step, const Complex* C, int64_t length,
                      float* taps) {
    const auto pairs = [](const auto& values) {
        std::vector<double> parts;
        for (const Complex& z : values) {
            parts.insert(parts.end(), {z.real(), z.imag()});
        }
        return parts;
    };
    const std::vector<double> a = pairs(step.a), b = pairs(step.b), w = pairs(step.w),
                              g = pairs(step.g), c = pairs(std::vector<Complex>(C, C + plan.M));
    std::vector<double> u(static_cast<size_t>(length)), y(u.size()), x(b.size());
    u[0] = 1.0;
    reference::diagonal_scan({length, 1, plan.M, 1, plan.rank, a.data(), b.data(), c.data(),
                              w.data(), g.data(), nullptr, u.data(), x.data(), y.data()});
    for (int64_t l = 0; l < length; ++l) {
        taps[l] = static_cast<float>(plan.factor * y[static_cast<size_t>(l)]);
    }
}

// C (I - A^length) of kernel k, `power` being A^length as as_matrix writes A.
std::vector<Complex> fold(int64_t M, const std::vector<double>& power, const Complex* C) {
    const int64_t n = 2 * M;
    std::vector<Complex> folded(C, C + M);
    for (int64_t i = 0; i < n; ++i) {
        const double row = i < M ? C[i].real() : -C[i - M].imag();
        const double* line = power.data() + i * n;
        for (int64_t j = 0; j < M; ++j) {
            folded[static_cast<size_t>(j)] -= Complex(row * line[j], -row * line[M + j]);
        }
    }
    return folded;
}

}  // namespace

Parameters::Parameters(const S4Plan& plan, const Weights& weights) {
    const auto get = [&](int32_t slot) { return read(weights.get(slot)); };
    if (plan.kind == S4Kind::dss || plan.poles) {
        // lambda itself, real and imaginary part.
        const std::vector<double> lambda = get(plan.poles ? kPoles : kLambda);
        for (size_t i = 0; i < lambda.size(); i += 2) {
            A_real.push_back(plan.poles || plan.real_transform == S4Transform::none ? -lambda[i]
                                                                                    : lambda[i]);
            A_imag.push_back(lambda[i + 1]);
        }
        C = get(plan.poles ? kResidues : kW);
        step = get(plan.poles ? kDirectStep : kLogDt);
    } else {
        A_real = get(kAReal);
        C = get(kC);
        B = get(kB);
        P = get(kP);
        step = get(kStep);
        if (!plan.real) {
            A_imag = get(kAImag);
        }
    }
    if (plan.real) {  // as complex numbers without imaginary parts
        for (std::vector<double>* values : {&B, &C}) {
            std::vector<double> pairs;
            for (const double value : *values) {
                pairs.insert(pairs.end(), {value, 0.0});
            }
            *values = pairs;
        }
    }
    skip = get(kD);
    if (plan.rows > 0) {
        weight = get(kOutput);
        bias = get(kOutputBias);
    }
}

reference::S4Ref Parameters::view(const S4Plan& plan) const {
    reference::S4Ref ref{};
    const auto data = [](const std::vector<double>& v) { return v.empty() ? nullptr : v.data(); };
    ref.D = plan.D;
    ref.M = plan.M;
    ref.S = plan.S;
    ref.C = plan.C;
    ref.K = plan.K;
    ref.rank = plan.rank;
    ref.step_columns = plan.step_columns;
    ref.rows = plan.rows;
    ref.kind = plan.kind;
    ref.rule = plan.rule;
    ref.step_transform = plan.step_transform;
    ref.real_transform = plan.real_transform;
    ref.imag_transform = plan.imag_transform;
    ref.imag_sign = plan.imag_sign;
    ref.rate = plan.rate;
    ref.factor = plan.factor;
    ref.clip = plan.clip;
    ref.l_kernel = plan.l_kernel;
    ref.length = plan.kernel_length;
    ref.gelu = plan.gelu;
    ref.glu = plan.glu;
    ref.bidirectional = plan.bidirectional;
    ref.step = data(step);
    ref.A_real = data(A_real);
    ref.A_imag = data(A_imag);
    ref.B = data(B);
    ref.Cs = data(C);
    ref.P = data(P);
    ref.skip = data(skip);
    ref.weight = data(weight);
    ref.bias = data(bias);
    return ref;
}

Status make_system(const S4Plan& plan, const Parameters& parameters, int64_t first,
                   DiagonalSystem* system) {
    const Reader from(plan, parameters);
    const int64_t D = plan.D, M = plan.M;
    *system = DiagonalSystem();
    system->channels = D;
    system->modes = M;
    system->outputs = plan.C;
    system->rank = plan.kind == S4Kind::dplr ? static_cast<int32_t>(plan.rank) : 0;
    system->c.resize(static_cast<size_t>(plan.C * D * M));
    system->w.resize(static_cast<size_t>(system->rank * D * M));
    system->g.resize(system->w.size());
    const auto c = [&](int64_t o, int64_t d, int64_t n) -> Complex& {
        return system->c[static_cast<size_t>((o * D + d) * M + n)];
    };
    for (int64_t d = 0; d < D; ++d) {
        if (plan.kind != S4Kind::dplr) {
            for (int64_t n = 0; n < M; ++n) {
                Complex gain;
                add_diagonal_mode(plan, from, d, n, *system, &gain);
                for (int64_t o = 0; o < plan.C; ++o) {
                    c(o, d, n) = gain * from.C(first + o, d, n);
                }
            }
            continue;
        }
        std::vector<Complex> C;
        for (int64_t k = 0; k < plan.K; ++k) {
            for (int64_t n = 0; n < M; ++n) {
                C.push_back(from.C(k, d, n));
            }
        }
        if (plan.l_kernel > 0) {
            SEQMIX_TRY(unfold(plan, from, d, &C));
        }
        Dplr step;
        SEQMIX_TRY(discretise(plan, from, d, plan.rate * from.step(d, 0), &step));
        const auto append = [](std::vector<Complex>& to, const std::vector<Complex>& values) {
            to.insert(to.end(), values.begin(), values.end());
        };
        append(system->a, step.a);
        append(system->a_minus_one, step.less);
        append(system->a_plus_one, step.more);
        append(system->b, step.b);
        for (int64_t n = 0; n < M; ++n) {
            for (int64_t o = 0; o < plan.C; ++o) {
                c(o, d, n) = plan.factor * C[static_cast<size_t>((first + o) * M + n)];
            }
            for (int64_t r = 0; r < plan.rank; ++r) {
                const auto i = static_cast<size_t>((r * D + d) * M + n);
                system->w[i] = step.w[static_cast<size_t>(r * M + n)];
                system->g[i] = step.g[static_cast<size_t>(r * M + n)];
            }
        }
    }
    if (first == 0) {
        system->skip = parameters.skip;
    }
    return Status();
}

Status make_kernels(const S4Plan& plan, const Parameters& parameters, int64_t first, int64_t length,
                    Isa isa, float* K) {
    const Reader from(plan, parameters);
    const int64_t D = plan.D, M = plan.M, width = plan.C * D;
    const Allocator heap;
    Array<float> taps(length, heap);
    const auto put = [&](int64_t o, int64_t d) {
        for (int64_t l = 0; l < length; ++l) {
            K[l * width + o * D + d] = taps[l];
        }
    };
    if (plan.kind != S4Kind::dplr) {
        DiagonalSystem system;
        SEQMIX_TRY(make_system(plan, parameters, first, &system));
        Array<float> work(vandermonde_scratch(length, M), heap);
        std::vector<double> parts(static_cast<size_t>(4 * M));
        double *w_re = parts.data(), *w_im = w_re + M, *c_re = w_im + M, *c_im = c_re + M;
        for (int64_t d = 0; d < D; ++d) {
            for (int64_t o = 0; o < plan.C; ++o) {
                for (int64_t n = 0; n < M; ++n) {
                    const auto i = static_cast<size_t>(d * M + n);
                    const Complex c = system.c[static_cast<size_t>(o * D * M) + i] * system.b[i];
                    w_re[n] = system.a[i].real();
                    w_im[n] = system.a[i].imag();
                    c_re[n] = c.real();
                    c_im[n] = c.imag();
                }
                SEQMIX_SELECT_KERNELS(isa, vandermonde_kernels)
                    ->vandermonde({length, M, w_re, w_im, c_re, c_im, taps.data(), work.data()});
                put(o, d);
            }
        }
        return Status();
    }
    const DplrKernel kernel(length, plan.rank, *SEQMIX_SELECT_KERNELS(isa, cauchy_kernels),
                            *SEQMIX_SELECT_KERNELS(isa, fft_kernels), heap);
    Array<float> work(kernel.scratch(), heap);
    for (int64_t d = 0; d < D; ++d) {
        const double dt = plan.rate * from.step(d, 0);
        std::vector<Complex> C;
        std::vector<double> power;
        const bool by_nodes = decays(plan, from, d, dt, length);
        const bool as_stored = by_nodes && plan.l_kernel == length && plan.rate == 1.0;
        Dplr step;
        if (!as_stored) {
            SEQMIX_TRY(true_c(plan, from, d, &C));
            SEQMIX_TRY(discretise(plan, from, d, dt, &step));
        }
        if (by_nodes && !as_stored) {
            power = dense::power(2 * M, as_matrix(plan, step), length);
        }
        for (int64_t o = 0; o < plan.C; ++o) {
            if (!by_nodes) {
                impulse_response(plan, step, C.data() + (first + o) * M, length, taps.data());
                put(o, d);
                continue;
            }
            std::vector<Complex> folded;
            if (as_stored) {
                for (int64_t n = 0; n < M; ++n) {
                    folded.push_back(from.C(first + o, d, n));
                }
            } else {
                folded = fold(M, power, C.data() + (first + o) * M);
            }
            CauchyPoles system;
            system.numerators.resize(static_cast<size_t>(kernel.sums()));
            const double half = plan.factor / 2;
            for (int64_t n = 0; n < M; ++n) {
                const Complex c = half * folded[static_cast<size_t>(n)], b = from.B(d, n);
                system.poles.push_back(dt * from.lambda(d, n));
                size_t i = 0;
                const auto add = [&](Complex v) { system.numerators[i++].push_back(dt * v); };
                add(c * b);
                for (int64_t r = 0; r < plan.rank; ++r) {
                    add(std::conj(from.P(r, d, n)) * b);
                }
                for (int64_t r = 0; r < plan.rank; ++r) {
                    add(c * from.P(r, d, n));
                }
                for (int64_t r = 0; r < plan.rank; ++r) {
                    for (int64_t q = 0; q < plan.rank; ++q) {
                        add(std::conj(from.P(r, d, n)) * from.P(q, d, n));
                    }
                }
            }
            kernel.run(system, taps.data(), work.data());
            put(o, d);
        }
    }
    return Status();
}

}  // namespace seqmix::mixers::s4
