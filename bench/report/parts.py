"""A model by its parts: where the time of mamba-130m's prefill and decode goes, one thread.

How the model's time is split among products, scan, convolution, norms and the rest is what samples of the
running model say (samples.py). A product's own time is that of its row, in the same run, at the model's
shape; what products take in the model beyond their rows is a line of its own, `products in place`:
there the weights are not in a cache. Without samples the rows' times stand for the parts.
"""
from typing import NamedTuple

from report.svg import line, text

LAYERS = 24
FORMATS = ("f32", "bf16", "int8")
MODEL_ROWS = {"f32": "model", "bf16": "model_bf16", "int8": "model_int8"}
PRODUCTS = {"in_proj": (3072, 768), "out_proj": (768, 1536), "lm_head": (50280, 768),
            "x_proj": (80, 1536), "dt_proj": (1536, 48)}  # outputs, inputs
BLOCK = ("in_proj", "x_proj", "dt_proj", "out_proj")  # of every layer
COLOURS = {"in_proj": "#1e3a8a", "x_proj": "#60a5fa", "dt_proj": "#93c5fd", "out_proj": "#1d4ed8",
           "lm_head": "#bfdbfe", "convolution": "#7c3aed", "scan": "#c2410c", "norm": "#15803d",
           "residual": "#86efac", "products in place": "#64748b", "rest": "#d1d5db"}


class Part(NamedTuple):
    name: str
    row: str
    tokens: int  # of a call of the row
    times: int  # in a token's way through the model


class Piece(NamedTuple):
    """Of one token of the whole model."""
    name: str
    us: float
    bytes: float
    flops: float
    limit_us: float
    product: bool


def product(name, rows):
    """The end of the name of a product's row."""
    n, k = PRODUCTS[name]
    return f"/avx512/{name}_M{rows}_N{n}_K{k}"


def product_row(figures, compiler, kind):
    """Rows of products in this format: of the instructions that layers choose."""
    if kind == "f32":
        return "gemm"
    stem = {"bf16": "gemm_bf16", "int8": "gemm_i8"}[kind]
    names = [name for at, _, name in figures.rows if at == compiler]
    tiles = any(name.startswith(stem + "_tiles") for name in names)
    return stem + ("_tiles" if tiles else "_dot")


def parts(figures, compiler, kind, phase):
    stem = product_row(figures, compiler, kind)
    rows = 512 if phase == "prefill" else 1
    found = [Part(name, stem + product(name, rows), rows, LAYERS) for name in BLOCK]
    if phase == "prefill":
        found += [Part("convolution", "causal_conv1d_op/avx512/prefill/B1_T2048_D1536_K4", 2048, LAYERS),
                  Part("scan", "selective_scan_op/avx512/prefill/B1_T2048_D1536_N16", 2048, LAYERS),
                  Part("norm", "rms_norm/avx512/B1_T2048_D768", 2048, LAYERS),
                  Part("residual", "add/avx512/B1_T2048_D768", 2048, LAYERS)]
    else:
        found += [Part("lm_head", stem + product("lm_head", 1), 1, 1),
                  Part("convolution", "causal_conv1d_op/avx512/decode/B1_T1_D1536_K4", 1, LAYERS),
                  Part("scan", "selective_scan_op/avx512/decode/B1_T1_D1536_N16", 1, LAYERS)]
    return found


def pieces(figures, compiler, kind, phase):
    """Every part with its time, and the whole model's; nothing if a row was not measured."""
    tokens = 2048 if phase == "prefill" else 1
    row = figures.row(compiler, 1, f"{MODEL_ROWS[kind]}/avx512/{phase}/mamba-130m_T{tokens}")
    if not row:
        return [], 0.0
    whole, where = row["time_us"] / tokens, row.get("where")
    seen = sum(where.values()) if where else 0

    def in_place(name):
        return where.get(name, 0) / seen * whole

    found = []
    for part in parts(figures, compiler, kind, phase):
        row = figures.row(compiler, 1, part.row)
        if not row or not row["limit_us"]:
            return [], 0.0
        scale, product = part.times / part.tokens, "gemm" in part.row
        us = row["time_us"] * scale if product or not seen else in_place(part.name)
        found.append(Piece(part.name, us, row["bytes"] * scale, row["flops"] * scale,
                           row["limit_us"] * scale, product))
    if seen:
        beyond = in_place("products") - sum(piece.us for piece in found if piece.product)
        found.append(Piece("products in place", beyond, 0, 0, 0, True))
    rest = whole - sum(piece.us for piece in found)
    return found + [Piece("rest", rest, 0, 0, 0, False)], whole


def glue_over_limit(figures, compiler, kind):
    """All but the products over the limits of scan, convolution, norms and residuals."""
    found, _ = pieces(figures, compiler, kind, "prefill")
    glue = [piece for piece in found if not piece.product]
    return sum(p.us for p in glue) / sum(p.limit_us for p in glue) if glue else None


def table(figures, compiler, phase):
    known = {kind: pieces(figures, compiler, kind, phase) for kind in FORMATS}
    known = {kind: found for kind, found in known.items() if found[0]}
    if not known:
        return []
    columns = [f"{kind}: us | KB | of_limit" for kind in known]
    lines = ["| part | MFLOP | " + " | ".join(columns) + " |",
             "|---|---|" + "---|---|---|" * len(known)]
    first = max((found for found, _ in known.values()), key=len)
    for piece in first:
        cells = []
        for found, _ in known.values():
            one = next((p for p in found if p.name == piece.name), None)
            share = f"{one.limit_us / one.us:.2f}" if one and one.limit_us and one.us > 0 else ""
            size = f"{one.bytes / 1e3:.0f}" if one and one.bytes else ""
            cells.append(f"{one.us:.1f} | {size} | {share}" if one else " | | ")
        flops = f"{piece.flops / 1e6:.2f}" if piece.flops else ""
        lines.append(f"| {piece.name} | {flops} | " + " | ".join(cells) + " |")
    cells = []
    for found, whole in known.values():
        size, limit = (sum(getattr(p, name) for p in found) for name in ("bytes", "limit_us"))
        cells.append(f"**{whole:.1f}** | {size / 1e3:.0f} | {limit / whole:.2f}")
    flops = sum(piece.flops for piece in first) / 1e6
    lines.append(f"| **whole model** | {flops:.2f} | " + " | ".join(cells) + " |")
    return lines


def draw(figures, compiler):
    """Bars of a token's time, one for each format and phase, split by part; the limit of every part is
    the line inside its piece."""
    width, left, top, height, gap = 860, 120, 64, 26, 14
    bars = []
    for phase in ("prefill", "decode"):
        for kind in FORMATS:
            found, whole = pieces(figures, compiler, kind, phase)
            if found:
                bars.append((phase, kind, found, whole))
    names = list(dict.fromkeys(piece.name for bar in bars for piece in bar[2]))
    bottom = top + len(bars) * (height + gap) + 12
    total = bottom + 20 * ((len(names) + 4) // 5) + 24
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" '
           f'font-family="sans-serif" font-size="12" fill="#111827">',
           f'<rect width="{width}" height="{total}" fill="#ffffff"/>',
           text(20, 24, f"mamba-130m by part, one token, one thread, {compiler}", font_size=14,
                font_weight="bold"),
           text(20, 44, "width: time, the f32 row of each phase is full; dark line: the part's limit")]
    y = top
    for phase, kind, found, whole in bars:
        longest = max(bar[3] for bar in bars if bar[0] == phase)
        scale = (width - left - 90) / longest
        out.append(text(20, y + height / 2 + 4, f"{phase} {kind}"))
        x = left
        for piece in found:
            wide = max(0.0, piece.us) * scale
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{max(wide, 0.5):.1f}" height="{height}" '
                       f'fill="{COLOURS[piece.name]}"><title>{piece.name}: {piece.us:.1f} us, limit '
                       f'{piece.limit_us:.1f}</title></rect>')
            if piece.limit_us and wide > 4:
                at = x + min(piece.limit_us, piece.us) * scale
                out.append(line(at, y + height - 7, at, y + height, "#000000", stroke_width=2))
            x += wide
        out.append(text(x + 6, y + height / 2 + 4, f"{whole:.0f} us"))
        y += height + gap
    for i, name in enumerate(names):
        x, y = 20 + i % 5 * 160, bottom + i // 5 * 20
        out.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{COLOURS[name]}"/>')
        out.append(text(x + 18, y + 10, name))
    out.append("</svg>")
    return "\n".join(out) + "\n"


def section(figures, compiler):
    """Of the document; nothing where the rows were not measured."""
    prefill, decode = (table(figures, compiler, phase) for phase in ("prefill", "decode"))
    if not prefill and not decode:
        return []
    return ["## A model by its parts", "",
            f"One token of mamba-130m's shape, one thread, {compiler}: of a prompt of 2048, and decoded; "
            "all layers together. Time is", "that within the model, by samples of it; of each product "
            "that of its own row, and `products in place` is what they", "take in the model beyond "
            "that, where weights and activations come from memory (below 0: where a cache holds all "
            "weights). In bf16 and", "int8 a product's limit counts instructions as fast as FMAs, "
            "with two and four times the elements: AMX passes it.", "",
            "![A model by its parts](parts.svg)", "", "Prefill:", "", *prefill, "", "Decode:", "",
            *decode]
