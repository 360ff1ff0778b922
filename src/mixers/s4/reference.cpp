#include "mixers/s4/reference.h"

#include <cmath>

namespace seqmix::reference {
namespace {

struct Z {
    double re = 0, im = 0;
};
Z operator+(Z a, Z b) { return {a.re + b.re, a.im + b.im}; }
Z operator-(Z a, Z b) { return {a.re - b.re, a.im - b.im}; }
Z operator*(Z a, Z b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
Z operator*(double a, Z b) { return {a * b.re, a * b.im}; }
Z conj(Z a) { return {a.re, -a.im}; }
double norm(Z a) { return a.re * a.re + a.im * a.im; }
Z operator/(Z a, Z b) { return 1 / norm(b) * (a * conj(b)); }
Z exp(Z a) { return std::exp(a.re) * Z{std::cos(a.im), std::sin(a.im)}; }
// e^a - 1 without cancellation.
Z expm1(Z a) {
    const double half = std::sin(a.im / 2);
    return {std::expm1(a.re) * std::cos(a.im) - 2 * half * half, std::exp(a.re) * std::sin(a.im)};
}
Z get(const double* p, int64_t i) { return {p[2 * i], p[2 * i + 1]}; }
void put(double* p, int64_t i, Z z) {
    p[2 * i] = z.re;
    p[2 * i + 1] = z.im;
}

double transform(S4Transform t, double x) {
    switch (t) {
        case S4Transform::none: return x;
        case S4Transform::exp: return std::exp(x);
        case S4Transform::relu: return (x > 0 ? x : 0) + 1e-4;
        case S4Transform::sigmoid: return 1 / (1 + std::exp(-x));
        case S4Transform::softplus: return x > 20 ? x : std::log1p(std::exp(x));
    }
    return 0;
}

Z lambda(const S4Ref& p, int64_t d, int64_t n) {
    const int64_t i = d % p.S * p.M + n;
    double re = -transform(p.real_transform, p.A_real[i]);
    if (p.kind == S4Kind::dss) {
        re = re < p.clip ? re : p.clip;
    }
    const double im = p.A_imag != nullptr ? transform(p.imag_transform, p.A_imag[i]) : 0.0;
    return {re, p.imag_sign * im};
}
Z input(const S4Ref& p, int64_t d, int64_t n) {
    return p.B != nullptr ? get(p.B, d % p.S * p.M + n) : Z{1, 0};
}
double step(const S4Ref& p, int64_t d, int64_t n) {
    return transform(p.step_transform, p.step[d * p.step_columns + (p.step_columns > 1 ? n : 0)]);
}

// a, b, and what C is multiplied by.
void diagonal(const S4Ref& p, int64_t d, int64_t n, Z* a, Z* b, Z* gain) {
    const Z l = lambda(p, d, n);
    Z z = p.rate * step(p, d, n) * l;
    if (p.kind == S4Kind::dss) {  // steps of their own for the real and the imaginary part
        z = {p.rate * std::exp(p.step[2 * d]) * l.re, p.rate * std::exp(p.step[2 * d + 1]) * l.im};
    }
    *a = exp(z);
    *b = {1, 0};
    *gain = {p.factor, 0};
    switch (p.rule) {
        case S4Rule::zoh:
            *b = norm(l) > 0 ? expm1(z) / l : Z{p.rate * step(p, d, n), 0};
            *b = *b * input(p, d, n);
            return;
        case S4Rule::bilinear:
            *a = (Z{1, 0} + 0.5 * z) / (Z{1, 0} - 0.5 * z);
            *b = p.rate * step(p, d, n) * (input(p, d, n) / (Z{1, 0} - 0.5 * z));
            return;
        case S4Rule::softmax: {
            // A growing mode counts from the other end of the sequence.
            const double s = z.re > 0 ? -1 : 1;
            const auto length = static_cast<double>(p.length);
            const Z x = expm1(s * length * z) * l;
            const Z r = 1 / (norm(x) + 1e-7) * conj(x);
            *gain = p.factor * (expm1(s * z) * r) * input(p, d, n);
            if (z.re > 0) *gain = *gain * exp(-(length - 1) * z);
            return;
        }
        case S4Rule::exp: {
            const double size = norm(l) > 1e-7 ? norm(l) : 1e-7;
            *gain = p.factor * expm1(z) * (1 / size * conj(l)) * input(p, d, n);
            return;
        }
        case S4Rule::exp_no_scale: *gain = p.factor * input(p, d, n);
    }
}

// ------------------------------------------------------------------ DPLR, dense

// x with a x = b by Gauss with pivoting: a (n,n), b (n,columns), complex; both are lost, b becomes x.
void solve(int64_t n, double* a, int64_t columns, double* b) {
    for (int64_t i = 0; i < n; ++i) {
        int64_t best = i;
        for (int64_t r = i + 1; r < n; ++r) {
            best = norm(get(a, r * n + i)) > norm(get(a, best * n + i)) ? r : best;
        }
        const auto swap = [&](double* m, int64_t width, int64_t j) {
            const Z kept = get(m, i * width + j);
            put(m, i * width + j, get(m, best * width + j));
            put(m, best * width + j, kept);
        };
        for (int64_t j = 0; j < n; ++j) swap(a, n, j);
        for (int64_t j = 0; j < columns; ++j) swap(b, columns, j);
        for (int64_t r = 0; r < n; ++r) {
            if (r == i) continue;
            const Z f = get(a, r * n + i) / get(a, i * n + i);
            for (int64_t j = i; j < n; ++j) {
                put(a, r * n + j, get(a, r * n + j) - f * get(a, i * n + j));
            }
            for (int64_t j = 0; j < columns; ++j) {
                put(b, r * columns + j, get(b, r * columns + j) - f * get(b, i * columns + j));
            }
        }
    }
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
            put(b, i * columns + j, get(b, i * columns + j) / get(a, i * n + i));
        }
    }
}

void multiply(int64_t n, const double* a, const double* b, double* c) {
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            Z sum;
            for (int64_t k = 0; k < n; ++k) sum = sum + get(a, i * n + k) * get(b, k * n + j);
            put(c, i * n + j, sum);
        }
    }
}

// Both conjugate halves, of n = 2M modes.
Z both(const double* p, int64_t first, int64_t M, int64_t i) {
    return i < M ? get(p, first + i) : conj(get(p, first + i - M));
}

// a (n,n), b (n) of channel d at step dt; left: n n complex.
void discretise(const S4Ref& p, int64_t d, double dt, double* left, double* right, double* a,
                double* b) {
    const int64_t M = p.M, n = 2 * M, s = d % p.S;
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            Z e;
            if (i == j) e = i < M ? lambda(p, d, i) : conj(lambda(p, d, i - M));
            for (int64_t r = 0; r < p.rank; ++r) {
                const int64_t first = (r * p.S + s) * M;
                e = e - both(p.P, first, M, i) * conj(both(p.P, first, M, j));
            }
            const Z one = {i == j ? 1.0 : 0.0, 0};
            put(left, i * n + j, one - dt / 2 * e);
            put(right, i * (n + 1) + j, one + dt / 2 * e);
        }
        put(right, i * (n + 1) + n, dt * both(p.B, s * M, M, i));
    }
    solve(n, left, n + 1, right);
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) put(a, i * n + j, get(right, i * (n + 1) + j));
        put(b, i, get(right, i * (n + 1) + n));
    }
}

void prepare_dplr(const S4Ref& p, double* work) {
    const int64_t M = p.M, n = 2 * M, square = 2 * n * n;
    double *left = work, *a = left + square, *power = a + square, *next = power + square,
           *right = next + square, *b = right + square + 2 * n, *folded = b + 2 * n;
    for (int64_t d = 0; d < p.D; ++d) {
        discretise(p, d, step(p, d, 0), left, right, a, b);
        for (int64_t k = 0; k < p.K; ++k) {
            for (int64_t i = 0; i < n; ++i) {
                put(folded, i * p.K + k, both(p.Cs, (k * p.D + d) * M, M, i));
            }
        }
        if (p.l_kernel > 0) {
            // C (I - A^l) = C~, with A^l by squaring from the highest bit on.
            for (int64_t i = 0; i < square; ++i) power[i] = 0;
            for (int64_t i = 0; i < n; ++i) put(power, i * n + i, {1, 0});
            int bits = 0;
            while (p.l_kernel >> bits > 0) ++bits;
            for (int bit = bits - 1; bit >= 0; --bit) {
                multiply(n, power, power, next);
                if ((p.l_kernel >> bit & 1) != 0) {
                    multiply(n, next, a, power);
                } else {
                    for (int64_t i = 0; i < square; ++i) power[i] = next[i];
                }
            }
            for (int64_t i = 0; i < n; ++i) {
                for (int64_t j = 0; j < n; ++j) {
                    const Z one = {i == j ? 1.0 : 0.0, 0};
                    put(left, j * n + i, one - get(power, i * n + j));
                }
            }
            solve(n, left, p.K, folded);
        }
        for (int64_t k = 0; k < p.K; ++k) {
            for (int64_t i = 0; i < M; ++i) {
                put(p.c, (k * p.D + d) * M + i, p.factor * get(folded, i * p.K + k));
            }
        }
        discretise(p, d, p.rate * step(p, d, 0), left, right, a, b);
        for (int64_t i = 0; i < M; ++i) {
            for (int64_t j = 0; j < n; ++j) put(p.a, (d * M + i) * n + j, get(a, i * n + j));
            put(p.b, d * M + i, get(b, i));
        }
    }
}

// ------------------------------------------------------------------ running

// One token of one channel: state x (2M lines of D, at channel d).
void update(const S4Ref& p, int64_t d, double u, double* x, double* next) {
    for (int64_t n = 0; n < p.M; ++n) {
        Z sum = u * get(p.b, d * p.M + n);
        const auto mode = [&](int64_t i) { return Z{x[2 * i * p.D], x[(2 * i + 1) * p.D]}; };
        if (p.kind == S4Kind::dplr) {
            const double* row = p.a + (d * p.M + n) * 4 * p.M;
            for (int64_t j = 0; j < p.M; ++j) {
                sum = sum + get(row, j) * mode(j) + get(row, p.M + j) * conj(mode(j));
            }
        } else {
            sum = sum + get(p.a, d * p.M + n) * mode(n);
        }
        put(next, n, sum);
    }
    for (int64_t i = 0; i < 2 * p.M; ++i) x[i * p.D] = next[i];
}

double output(const S4Ref& p, int64_t kernel, int64_t d, const double* x) {
    double sum = 0;
    for (int64_t n = 0; n < p.M; ++n) {
        const Z c = get(p.c, (kernel * p.D + d) * p.M + n);
        sum += c.re * x[2 * n * p.D] - c.im * x[(2 * n + 1) * p.D];
    }
    return sum;
}

// h (C D) to y: activation, output_linear, gate.
void finish(const S4Ref& p, int64_t t, double* h, double* rows) {
    const int64_t width = p.C * p.D;
    for (int64_t i = 0; i < width && p.gelu; ++i) h[i] *= 0.5 * std::erfc(-h[i] / std::sqrt(2.0));
    if (p.rows == 0) {
        for (int64_t i = 0; i < width; ++i) p.y[t * width + i] = h[i];
        return;
    }
    for (int64_t r = 0; r < p.rows; ++r) {
        rows[r] = p.bias[r];
        for (int64_t i = 0; i < width; ++i) rows[r] += p.weight[r * width + i] * h[i];
    }
    for (int64_t i = 0; i < p.D; ++i) {
        p.y[t * p.D + i] = p.glu ? rows[i] / (1 + std::exp(-rows[p.D + i])) : rows[i];
    }
}

}  // namespace

int64_t s4_a_size(const S4Ref& p) { return p.D * p.M * 2 * (p.kind == S4Kind::dplr ? 2 * p.M : 1); }

int64_t s4_prepare_scratch(const S4Ref& p) {
    const int64_t n = 2 * p.M;
    return p.kind == S4Kind::dplr ? 10 * n * n + 4 * n + 2 * n * p.K : 0;
}

void s4_prepare(const S4Ref& p, double* work) {
    if (p.kind == S4Kind::dplr) return prepare_dplr(p, work);
    for (int64_t d = 0; d < p.D; ++d) {
        for (int64_t n = 0; n < p.M; ++n) {
            Z a, b, gain;
            diagonal(p, d, n, &a, &b, &gain);
            put(p.a, d * p.M + n, a);
            put(p.b, d * p.M + n, b);
            for (int64_t k = 0; k < p.K; ++k) {
                const int64_t i = (k * p.D + d) * p.M + n;
                put(p.c, i, gain * get(p.Cs, i));
            }
        }
    }
}

int64_t s4_scratch(const S4Ref& p) {
    const int64_t width = p.C * p.D;
    return (p.bidirectional ? p.T * width + 2 * p.M * p.D : width) + p.rows + 2 * p.M;
}

void s4(const S4Ref& p) {
    const int64_t width = p.C * p.D;
    double *next = p.scratch, *rows = next + 2 * p.M, *h = rows + p.rows;
    const auto causal = [&](int64_t t, double* state, double* out) {
        for (int64_t d = 0; d < p.D; ++d) {
            const double u = p.x[t * p.D + d];
            update(p, d, u, state + d, next);
            for (int64_t o = 0; o < p.C; ++o) {
                const double skip = p.skip != nullptr ? p.skip[o * p.D + d] : 0.0;
                out[o * p.D + d] = output(p, o, d, state + d) + skip * u;
            }
        }
    };
    if (!p.bidirectional) {
        for (int64_t t = 0; t < p.T; ++t) {
            causal(t, p.state, h);
            finish(p, t, h, rows);
        }
        return;
    }
    // The second half of the kernels reads from the end and does not see the token itself.
    double* state = h + p.T * width;
    const auto clear = [&] {
        for (int64_t i = 0; i < 2 * p.M * p.D; ++i) state[i] = 0;
    };
    clear();
    for (int64_t t = 0; t < p.T; ++t) causal(t, state, h + t * width);
    clear();
    for (int64_t t = p.T - 1; t >= 0; --t) {
        for (int64_t d = 0; d < p.D; ++d) {
            for (int64_t o = 0; o < p.C; ++o) {
                h[t * width + o * p.D + d] += output(p, p.C + o, d, state + d);
            }
            update(p, d, p.x[t * p.D + d], state + d, next);
        }
        finish(p, t, h + t * width, rows);
    }
}

}  // namespace seqmix::reference
