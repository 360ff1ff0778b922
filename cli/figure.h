// Figures: a matrix as colours, or curves with axes. Drawn once on a canvas that becomes SVG (text and
// lines) or PNG (pixels; of texts only numbers).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace seqmix_cli {

struct Axis {
    std::string label;
    double low = 0, high = 1;
    bool logarithmic = false;  // of curves: low > 0
};

struct Curve {
    std::string label;  // shown where there are several
    std::vector<double> y;
    std::vector<double> x;  // empty: at equal distances from Figure::x.low to high
};

struct Figure {
    std::string title;
    Axis x, y;
    // One of the two. A matrix has y downwards from the top.
    std::vector<Curve> curves;
    std::vector<double> matrix;
    int64_t rows = 0, columns = 0;
};

// Makes y's range that of the curves, a little wider.
void fit_curves(Figure& figure);

// The content of a file of this name: .svg or .png.
std::string render(const Figure& figure, const std::string& path);
// Throws where render would, before work is done: another ending, or no libpng.
void need_figure_format(const std::string& path);

}  // namespace seqmix_cli
