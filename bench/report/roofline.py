"""The roofline picture as SVG: rows of one thread under the machine's own limits, no dependencies."""
import math

from report.svg import line, text

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 64, 330, 46, 52
X_RANGE, Y_RANGE = (0.06, 1000.0), (1.0, 600.0)  # flops per byte, GFLOP/s
COLOURS = {"scan": "#c2410c", "convolution": "#7c3aed", "product": "#1d4ed8", "model": "#15803d"}


def x_of(value):
    low, high = (math.log10(v) for v in X_RANGE)
    value = min(max(value, X_RANGE[0]), X_RANGE[1])
    return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def y_of(value):
    low, high = (math.log10(v) for v in Y_RANGE)
    value = min(max(value, Y_RANGE[0]), Y_RANGE[1])
    return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def roof(parts, peak, bandwidth, label, dash):
    """The slope of memory up to the ridge, then the FMA rate."""
    ridge = peak / bandwidth
    style = {"stroke_width": 2, **({"stroke_dasharray": dash} if dash else {})}
    if not dash:
        low = max(X_RANGE[0], Y_RANGE[0] / bandwidth)
        parts.append(line(x_of(low), y_of(low * bandwidth), x_of(ridge), y_of(peak), "#374151",
                          **style))
    parts.append(line(x_of(ridge), y_of(peak), x_of(X_RANGE[1]), y_of(peak), "#374151", **style))
    # The lower roof's label left of the slope, where no point can be.
    parts.append(text(x_of(ridge) - 12 if dash else x_of(X_RANGE[1]) - 4,
                      y_of(peak) + (4 if dash else -5), label, text_anchor="end"))


def draw(title, points, fma_wide, fma_narrow, bandwidth):
    """`points`: (group, label, flops per byte, GFLOP/s)."""
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             f'font-family="sans-serif" font-size="12" fill="#111827">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
             text(LEFT, 24, title, font_size=14, font_weight="bold")]
    for decade in range(-1, 4):
        at = 10.0 ** decade
        parts.append(line(x_of(at), TOP, x_of(at), HEIGHT - BOTTOM, "#e5e7eb"))
        parts.append(text(x_of(at), HEIGHT - BOTTOM + 18, f"{at:g}", text_anchor="middle"))
    for at in (1, 10, 100):
        parts.append(line(LEFT, y_of(at), WIDTH - RIGHT, y_of(at), "#e5e7eb"))
        parts.append(text(LEFT - 8, y_of(at) + 4, f"{at:g}", text_anchor="end"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "flops per byte of memory (both as counted)",
                      text_anchor="middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 18 {middle:.1f})">'
                 + text(18, middle, "GFLOP/s", text_anchor="middle") + "</g>")
    roof(parts, fma_wide, bandwidth, f"FMA, AVX-512: {fma_wide:.0f} GFLOP/s", "")
    if fma_narrow < 0.95 * fma_wide:
        roof(parts, fma_narrow, bandwidth, f"AVX2: {fma_narrow:.0f}", "6 4")
    at = max(X_RANGE[0], Y_RANGE[0] / bandwidth) * 1.5
    parts.append(text(x_of(at) + 10, y_of(at * bandwidth) + 12, f"memory read: {bandwidth:.0f} GB/s"))
    for i, (group, label, intensity, speed) in enumerate(points):
        colour = COLOURS[group]
        x, y = x_of(intensity), y_of(speed)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="{colour}" '
                     f'fill-opacity="0.9"/>')
        parts.append(text(x, y + 4, str(i + 1), text_anchor="middle", fill="#ffffff", font_size=10))
        below = TOP + 12 + 20 * i
        parts.append(f'<circle cx="{WIDTH - RIGHT + 26}" cy="{below}" r="8" fill="{colour}"/>')
        parts.append(text(WIDTH - RIGHT + 26, below + 4, str(i + 1), text_anchor="middle",
                          fill="#ffffff", font_size=10))
        parts.append(text(WIDTH - RIGHT + 42, below + 4, label))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
