// CAB's efficiency length: from which length on a mixer whose cost is a line is cheaper than one whose
// cost is a parabola, both fitted by least squares. Source: Zhang et al. 2023 (CAB), section 3.
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <vector>

namespace seqmix_cli {

struct Parabola {
    double a = 0, b = 0, c = 0;  // a n^2 + b n + c
};

// Least squares with as many coefficients as `degree` says (1 or 2); needs degree + 1 lengths.
inline Parabola fit(const std::vector<double>& lengths, const std::vector<double>& costs,
                    int degree) {
    // Lengths in units of the largest, or the normal equations lose half of the digits.
    double unit = 0;
    for (const double length : lengths) {
        unit = std::fmax(unit, length);
    }
    double matrix[3][4] = {};
    for (size_t i = 0; i < lengths.size(); ++i) {
        const double n = lengths[i] / unit, powers[3] = {1, n, n * n};
        for (int row = 0; row <= degree; ++row) {
            for (int column = 0; column <= degree; ++column) {
                matrix[row][column] += powers[row] * powers[column];
            }
            matrix[row][3] += powers[row] * costs[i];
        }
    }
    for (int pivot = 0; pivot <= degree; ++pivot) {  // positive definite: no exchange of rows
        for (int row = 0; row <= degree; ++row) {
            if (row == pivot) {
                continue;
            }
            const double factor = matrix[row][pivot] / matrix[pivot][pivot];
            for (int column = pivot; column < 4; ++column) {
                matrix[row][column] -= factor * matrix[pivot][column];
            }
        }
    }
    const auto coefficient = [&](int i) { return i <= degree ? matrix[i][3] / matrix[i][i] : 0; };
    return {coefficient(2) / (unit * unit), coefficient(1) / unit, coefficient(0)};
}

// The larger length at which the two cost the same; 0 where the line is cheaper at all lengths;
// nothing where the parabola does not bend upwards, and so need not cross.
inline std::optional<double> efficiency_length(const Parabola& parabola, const Parabola& line) {
    if (!(parabola.a > 0)) {
        return std::nullopt;
    }
    const double b = parabola.b - line.b, c = parabola.c - line.c;
    const double discriminant = b * b - 4 * parabola.a * c;
    if (discriminant < 0) {
        return 0;
    }
    return std::fmax(0, (-b + std::sqrt(discriminant)) / (2 * parabola.a));
}

// The first length from which on, as measured, the second costs less than the first; between two
// measured lengths by the line through both. Nothing where the second is dearer at the end.
inline std::optional<double> measured_crossing(const std::vector<double>& lengths,
                                               const std::vector<double>& first,
                                               const std::vector<double>& second) {
    std::optional<double> from;
    for (size_t i = lengths.size(); i-- > 0;) {
        const double gain = first[i] - second[i];
        if (gain <= 0) {
            if (from) {
                const double next = first[i + 1] - second[i + 1];
                from = lengths[i] + (lengths[i + 1] - lengths[i]) * -gain / (next - gain);
            }
            return from;
        }
        from = lengths[i];
    }
    return from;
}

}  // namespace seqmix_cli
