#include "figure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "common.h"
#include "image.h"

namespace seqmix_cli {

namespace {

constexpr double kWidth = 720, kHeight = 560;
constexpr double kLeft = 80, kTop = 40, kPlotWidth = 600, kPlotHeight = 460;

struct Colour {
    uint8_t red, green, blue;
};
constexpr Colour kBlack{30, 30, 30}, kGrey{215, 215, 215};

enum class Align : uint8_t { left, middle, right };

class Canvas {
  public:
    virtual ~Canvas() = default;
    virtual void fill(double x, double y, double width, double height, Colour colour) = 0;
    virtual void line(double x0, double y0, double x1, double y1, Colour colour) = 0;
    virtual void text(double x, double y, std::string_view text, Align align) = 0;
    virtual std::string finish(const std::string& path) = 0;
};

// ------------------------------------------------------------------ SVG

std::string format(const char* pattern, auto... values) {
    char text[160];
    std::snprintf(text, sizeof text, pattern, values...);
    return text;
}

class SvgCanvas : public Canvas {
  public:
    SvgCanvas() {
        body_ = format(
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" "
                    "font-family=\"sans-serif\" font-size=\"13\">\n",
                    kWidth, kHeight) +
                format("<rect width=\"%g\" height=\"%g\" fill=\"white\"/>\n", kWidth, kHeight) +
                "<g shape-rendering=\"crispEdges\">\n";
    }
    void fill(double x, double y, double width, double height, Colour colour) override {
        body_ += format("<rect x=\"%.6g\" y=\"%.6g\" width=\"%.6g\" height=\"%.6g\" ", x, y, width,
                        height) +
                 format("fill=\"#%02x%02x%02x\"/>\n", colour.red, colour.green, colour.blue);
    }
    void line(double x0, double y0, double x1, double y1, Colour colour) override {
        lines_ += format("<path d=\"M%.5g %.5gL%.5g %.5g\" stroke=\"#%02x%02x%02x\"/>\n", x0, y0,
                         x1, y1, colour.red, colour.green, colour.blue);
    }
    void text(double x, double y, std::string_view text, Align align) override {
        constexpr const char* kAnchors[] = {"start", "middle", "end"};
        texts_ += format("<text x=\"%g\" y=\"%g\" text-anchor=\"%s\">", x, y + 5,
                         kAnchors[static_cast<size_t>(align)]);
        for (const char c : text) {
            texts_ += c == '<'   ? "&lt;"
                      : c == '>' ? "&gt;"
                      : c == '&' ? "&amp;"
                                 : std::string(1, c);
        }
        texts_ += "</text>\n";
    }
    std::string finish(const std::string&) override {
        return body_ + "</g>\n<g fill=\"none\" stroke-width=\"1.2\">\n" + lines_ + "</g>\n" +
               texts_ + "</svg>\n";
    }

  private:
    std::string body_, lines_, texts_;
};

// ------------------------------------------------------------------ PNG

// Digits and what numbers are written with: 5 rows of 3 bits, the left one first.
constexpr struct {
    char character;
    std::array<uint8_t, 5> rows;
} kGlyphs[] = {
    {'0', {7, 5, 5, 5, 7}}, {'1', {2, 6, 2, 2, 7}}, {'2', {7, 1, 7, 4, 7}}, {'3', {7, 1, 3, 1, 7}},
    {'4', {5, 5, 7, 1, 1}}, {'5', {7, 4, 7, 1, 7}}, {'6', {7, 4, 7, 5, 7}}, {'7', {7, 1, 1, 1, 1}},
    {'8', {7, 5, 7, 5, 7}}, {'9', {7, 5, 7, 1, 7}}, {'-', {0, 0, 7, 0, 0}}, {'+', {0, 2, 7, 2, 0}},
    {'.', {0, 0, 0, 0, 2}}, {'e', {0, 7, 7, 4, 7}},
};

class PngCanvas : public Canvas {
  public:
    PngCanvas() {
        image_ = {static_cast<int64_t>(kWidth), static_cast<int64_t>(kHeight), 3, {}};
        image_.samples.assign(static_cast<size_t>(image_.width * image_.height * 3), 255);
    }
    void fill(double x, double y, double width, double height, Colour colour) override {
        const auto edge = [](double at) { return static_cast<int64_t>(std::lround(at)); };
        for (int64_t row = edge(y); row < std::max(edge(y + height), edge(y) + 1); ++row) {
            for (int64_t column = edge(x); column < std::max(edge(x + width), edge(x) + 1);
                 ++column) {
                put(column, row, colour);
            }
        }
    }
    void line(double x0, double y0, double x1, double y1, Colour colour) override {
        const double steps = std::max({1.0, std::abs(x1 - x0), std::abs(y1 - y0)});
        for (double i = 0; i <= steps; ++i) {
            put(std::lround(x0 + (x1 - x0) * i / steps), std::lround(y0 + (y1 - y0) * i / steps),
                colour);
        }
    }
    void text(double x, double y, std::string_view text, Align align) override {
        constexpr int64_t kScale = 2, kAdvance = 4 * kScale;
        for (const char c : text) {
            if (glyph(c) == nullptr && c != ' ') {
                return;  // words are for SVG
            }
        }
        const auto width = static_cast<double>(static_cast<int64_t>(text.size()) * kAdvance);
        int64_t at = std::lround(x - width * (align == Align::left     ? 0.0
                                              : align == Align::middle ? 0.5
                                                                       : 1.0));
        const int64_t top = std::lround(y) - 5;
        for (const char c : text) {
            for (int64_t row = 0; c != ' ' && row < 5; ++row) {
                for (int64_t column = 0; column < 3; ++column) {
                    if (((*glyph(c))[static_cast<size_t>(row)] >> (2 - column) & 1) != 0) {
                        fill(static_cast<double>(at + column * kScale),
                             static_cast<double>(top + row * kScale), kScale, kScale, kBlack);
                    }
                }
            }
            at += kAdvance;
        }
    }
    std::string finish(const std::string& path) override { return encode_png(image_, path); }

  private:
    static const std::array<uint8_t, 5>* glyph(char character) {
        for (const auto& known : kGlyphs) {
            if (known.character == character) {
                return &known.rows;
            }
        }
        return nullptr;
    }
    void put(int64_t x, int64_t y, Colour colour) {
        if (x >= 0 && y >= 0 && x < image_.width && y < image_.height) {
            uint8_t* pixel = image_.samples.data() + (y * image_.width + x) * 3;
            pixel[0] = colour.red;
            pixel[1] = colour.green;
            pixel[2] = colour.blue;
        }
    }

    Image image_;
};

// ------------------------------------------------------------------ drawing

// Blue below zero, white, red above; the root of the size, so that small values show.
Colour signed_colour(double value, double largest) {
    if (!std::isfinite(value)) {
        return {255, 220, 0};
    }
    const double size = largest > 0 ? std::sqrt(std::min(1.0, std::abs(value) / largest)) : 0;
    const auto level = static_cast<uint8_t>(std::lround(std::round((1 - size) * 63) * 255 / 63));
    const auto half = static_cast<uint8_t>(255 - (255 - level) / 3);
    return value < 0 ? Colour{level, level, half} : Colour{half, level, level};
}

void draw_matrix(const Figure& figure, Canvas& canvas) {
    double largest = 0;
    for (const double value : figure.matrix) {
        largest = std::isfinite(value) ? std::max(largest, std::abs(value)) : largest;
    }
    const double width = kPlotWidth / static_cast<double>(figure.columns);
    const double height = kPlotHeight / static_cast<double>(figure.rows);
    for (int64_t row = 0; row < figure.rows; ++row) {
        const double* values = figure.matrix.data() + row * figure.columns;
        // Neighbours of one colour are one rectangle; white ones are none.
        for (int64_t first = 0, last = 0; first < figure.columns; first = last) {
            const Colour colour = signed_colour(values[first], largest);
            const auto same = [&](int64_t i) {
                const Colour other = signed_colour(values[i], largest);
                return other.red == colour.red && other.green == colour.green &&
                       other.blue == colour.blue;
            };
            for (last = first + 1; last < figure.columns && same(last);) {
                ++last;
            }
            if (colour.red < 255 || colour.green < 255 || colour.blue < 255) {
                canvas.fill(kLeft + static_cast<double>(first) * width,
                            kTop + static_cast<double>(row) * height,
                            static_cast<double>(last - first) * width, height, colour);
            }
        }
    }
}

// Where a value lies on an axis, 0 to 1, and back.
double share_of(const Axis& axis, double value) {
    if (axis.logarithmic) {
        return std::log(std::max(value, axis.low) / axis.low) / std::log(axis.high / axis.low);
    }
    return (value - axis.low) / (axis.high - axis.low);
}

double value_at(const Axis& axis, double share) {
    return axis.logarithmic ? axis.low * std::pow(axis.high / axis.low, share)
                            : axis.low + (axis.high - axis.low) * share;
}

void draw_curve(const Figure& figure, const Curve& curve, Colour colour, Canvas& canvas) {
    const auto x = [&](size_t i) {
        const double share = curve.x.empty()
                                 ? static_cast<double>(i) / static_cast<double>(curve.y.size() - 1)
                                 : share_of(figure.x, curve.x[i]);
        return kLeft + kPlotWidth * share;
    };
    const auto y = [&](size_t i) {
        return kTop + kPlotHeight * (1 - std::clamp(share_of(figure.y, curve.y[i]), 0.0, 1.0));
    };
    for (size_t i = 1; i < curve.y.size(); ++i) {
        if (std::isfinite(curve.y[i - 1]) && std::isfinite(curve.y[i])) {
            canvas.line(x(i - 1), y(i - 1), x(i), y(i), colour);
        }
    }
}

void draw_curves(const Figure& figure, Canvas& canvas) {
    constexpr Colour kColours[] = {{31, 96, 173}, {200, 60, 40}, {40, 140, 70}, {120, 80, 160}};
    for (size_t i = 0; i < figure.curves.size(); ++i) {
        const Colour colour = kColours[i % std::size(kColours)];
        draw_curve(figure, figure.curves[i], colour, canvas);
        if (figure.curves.size() > 1) {
            const double at = kTop + 16 + 18 * static_cast<double>(i);
            canvas.fill(kLeft + 12, at - 2, 24, 4, colour);
            canvas.text(kLeft + 42, at, figure.curves[i].label, Align::left);
        }
    }
}

void draw_axes(const Figure& figure, Canvas& canvas) {
    constexpr int kTicks = 4;
    const bool matrix = figure.rows > 0;
    for (int i = 0; i <= kTicks; ++i) {
        const double share = static_cast<double>(i) / kTicks;
        const double x = kLeft + kPlotWidth * share;
        const double y = kTop + kPlotHeight * (matrix ? share : 1 - share);
        if (!matrix) {
            canvas.line(x, kTop, x, kTop + kPlotHeight, kGrey);
            canvas.line(kLeft, y, kLeft + kPlotWidth, y, kGrey);
        }
        const auto value = [&](const Axis& axis) { return format("%.4g", value_at(axis, share)); };
        canvas.text(x, kTop + kPlotHeight + 14, value(figure.x), Align::middle);
        canvas.text(kLeft - 6, y, value(figure.y), Align::right);
    }
    canvas.text(kLeft + kPlotWidth / 2, kHeight - 18, figure.x.label, Align::middle);
    canvas.text(kLeft - 60, kTop - 14, figure.y.label, Align::left);
    canvas.text(kLeft + kPlotWidth / 2, 16, figure.title, Align::middle);
}

void draw_frame(Canvas& canvas) {
    const double right = kLeft + kPlotWidth, bottom = kTop + kPlotHeight;
    canvas.line(kLeft, kTop, right, kTop, kBlack);
    canvas.line(right, kTop, right, bottom, kBlack);
    canvas.line(right, bottom, kLeft, bottom, kBlack);
    canvas.line(kLeft, bottom, kLeft, kTop, kBlack);
}

}  // namespace

void fit_curves(Figure& figure) {
    double low = 0, high = 0;
    bool first = true;
    for (const Curve& curve : figure.curves) {
        for (const double value : curve.y) {
            if (std::isfinite(value)) {
                low = first ? value : std::min(low, value);
                high = first ? value : std::max(high, value);
                first = false;
            }
        }
    }
    if (figure.y.logarithmic) {
        figure.y.low = low / 1.25;
        figure.y.high = high * 1.25;
        return;
    }
    const double margin = high > low ? 0.05 * (high - low) : 1;
    figure.y.low = low - margin;
    figure.y.high = high + margin;
}

void need_figure_format(const std::string& path) {
    if (path.ends_with(".png")) {
        need_png(path);
    } else if (!path.ends_with(".svg")) {
        throw Failure(kUsage, path + ": expected a name that ends in .svg or .png");
    }
}

std::string render(const Figure& figure, const std::string& path) {
    need_figure_format(path);
    const auto draw = [&](Canvas& canvas) {
        draw_axes(figure, canvas);
        if (figure.rows > 0) {
            draw_matrix(figure, canvas);
        } else {
            draw_curves(figure, canvas);
        }
        draw_frame(canvas);
        return canvas.finish(path);
    };
    if (path.ends_with(".png")) {
        PngCanvas canvas;
        return draw(canvas);
    }
    SvgCanvas canvas;
    return draw(canvas);
}

}  // namespace seqmix_cli
