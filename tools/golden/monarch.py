#!/usr/bin/env python3
"""Small cases of M2's mixers, in double, from their published equations alone.

  tools/golden/monarch.py [FOLDER]      writes tests/golden/monarch/*.safetensors again (the same bytes)

Plain Python, no packages: nothing is shared with the library, not even FFTs (sums over lags). Weights are
random with a fixed seed and rounded to f32, expected outputs are F64, options are metadata.

Sequence mixer (Fu et al. 2023, Monarch Mixer, section 3; HazyResearch/m2): x1, x2, v = the thirds of a short
causal convolution of a linear map of x; y = W (x2 * (k conv (v x1) + b (v x1)) + k2 conv x + b2 x) + c. A filter
is a network of the position: k[t] = exp(-t/(L-1) |delta|) W3 sin(f (W2 sin(f (W1 sin(f (W0 z_t + b0)) + b1)) +
b2)), z_t = (t/(L-1), cos(f_i w), ..., -sin(f_i w), ...), w = 2 pi t/L, f_i from 1e-4 to bands-1. Two-sided: the
reverse filter's tap j meets the input j + 1 tokens later; its network has the sines' frequencies of the forward one.
Channel mixer: block-diagonal A and B, y = B (gelu(h[:I]) h[I:]) + b, h = A x.
"""
import json
import math
import os
import random
import struct
import sys


class Case:
    def __init__(self, seed, **options):
        self.random = random.Random(seed)
        self.options = options
        self.tensors = {}

    def weight(self, name, shape, low=-1.0, high=1.0):
        """Nested lists of f32 values, uniform; kept as in.NAME."""
        count = math.prod(shape)
        flat = [struct.unpack("<f", struct.pack("<f", self.random.uniform(low, high)))[0]
                for _ in range(count)]
        self.tensors["in." + name] = ("F32", shape, flat)
        for size in reversed(shape[1:]):
            flat = [flat[i:i + size] for i in range(0, len(flat), size)]
        return flat

    def expect(self, name, nested):
        shape = []
        flat = nested
        while isinstance(flat[0], list):
            shape.append(len(flat))
            flat = [x for part in flat for x in part]
            if len(shape) > 1:
                shape[-1] //= math.prod(shape[:-1])
        self.tensors["out." + name] = ("F64", shape + [len(flat) // math.prod(shape)], flat)

    def write(self, path):
        header, data = {"__metadata__": {k: json.dumps(v) for k, v in self.options.items()}}, b""
        for name, (dtype, shape, flat) in self.tensors.items():
            packed = struct.pack("<%d%s" % (len(flat), "f" if dtype == "F32" else "d"), *flat)
            header[name] = {"dtype": dtype, "shape": list(shape),
                            "data_offsets": [len(data), len(data) + len(packed)]}
            data += packed
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text + data)


def linear(W, b, x):
    return [sum(w * v for w, v in zip(row, x)) + c for row, c in zip(W, b)]


def network(case, name, width, features, hidden):
    names = (("in", features), ("inner0", hidden), ("inner1", hidden))
    layers = [(case.weight(f"{name}.{layer}.weight", [hidden, size]),
               case.weight(f"{name}.{layer}.bias", [hidden])) for layer, size in names]
    return layers, case.weight(f"{name}.out.weight", [width, hidden])


def filter_taps(layers, last, frequencies, length, features):
    """k[d][t]"""
    bands = (features - 1) // 2
    slow, fast = math.log(0.01) / 1.5, math.log(0.01) / 0.3
    width = len(last)
    taps = [[0.0] * length for _ in range(width)]
    for t in range(length):
        at = t / (length - 1)
        f = [1e-4 + (bands - 1 - 1e-4) * i / (bands - 1) if bands > 1 else 1e-4 for i in range(bands)]
        w = 2 * math.pi * t / length
        h = [at] + [math.cos(x * w) for x in f] + [-math.sin(x * w) for x in f]
        for W, b in layers:
            h = [math.sin(g * x) for g, x in zip(frequencies, linear(W, b, h))]
        for d in range(width):
            delta = slow + (fast - slow) * d / (width - 1) if width > 1 else slow
            taps[d][t] = sum(w * x for w, x in zip(last[d], h)) * math.exp(-at * abs(delta))
    return taps


def sequence_mixer(seed, D, L, T, O, features, bidirectional, residual):
    case = Case(seed, d_model=D, l_max=L, filter_order=O, emb_dim=features,
                bidirectional=bidirectional, residual=residual)
    W, b = case.weight("in_proj.weight", [3 * D, D]), case.weight("in_proj.bias", [3 * D])
    short, shift = case.weight("short_filter.weight", [3 * D, 3]), case.weight("short_filter.bias", [3 * D])
    out, c = case.weight("out_proj.weight", [D, D]), case.weight("out_proj.bias", [D])
    x = case.weight("x", [2, T, D])
    filters = []
    for name in ["filter"] + (["residual"] if residual else []):
        forward = network(case, name, D, features, O)
        frequencies = case.weight(name + ".freq", [O], 0.5, 2.0)
        bias = case.weight(name + ".bias", [D])
        k = filter_taps(*forward, frequencies, L, features)
        after = None
        if bidirectional:
            reverse = network(case, name + "_reverse", D, features, O)
            after = filter_taps(*reverse, frequencies, L, features)
        filters.append((k, after, bias))

    def convolve(index, row):
        k, after, bias = filters[index]
        result = []
        for t in range(T):
            values = []
            for d in range(D):
                total = bias[d] * row[t][d]
                for j in range(T):
                    if 0 <= t - j < L:
                        total += k[d][t - j] * row[j][d]
                    if after is not None and 0 <= j - t - 1 < L:
                        total += after[d][j - t - 1] * row[j][d]
                values.append(total)
            result.append(values)
        return result

    y, matrices = [], []
    for row in x:
        z = [linear(W, b, token) for token in row]
        u = [[shift[i] + sum(short[i][2 - j] * z[t - j][i] for j in range(3) if t >= j)
              for i in range(3 * D)] for t in range(T)]
        gated = convolve(0, [[u[t][d] * u[t][2 * D + d] for d in range(D)] for t in range(T)])
        mixed = [[u[t][D + d] * gated[t][d] for d in range(D)] for t in range(T)]
        if residual:
            other = convolve(1, row)
            mixed = [[a + e for a, e in zip(p, q)] for p, q in zip(mixed, other)]
        y.append([linear(out, c, token) for token in mixed])
        # The matrix of the gated convolution from v on, by unit vectors.
        columns = []
        for j in range(T):
            unit = [[u[t][d] if t == j else 0.0 for d in range(D)] for t in range(T)]
            image = convolve(0, unit)
            columns.append([[u[t][D + d] * image[t][d] for t in range(T)] for d in range(D)])
        matrices.append([[[columns[j][d][t] for j in range(T)] for t in range(T)] for d in range(D)])
    case.expect("y", y)
    case.expect("matrix", matrices[0])
    return case


def channel_mixer(seed, D, I, blocks, T, gated):
    case = Case(seed, d_model=D, d_hidden=I, n_blocks=blocks, gated=gated)
    H = 2 * I if gated else I
    A = case.weight("gated_layers.weight", [blocks, H // blocks, D // blocks])
    B = case.weight("wo.weight", [blocks, D // blocks, I // blocks])
    b = case.weight("wo.bias", [D])
    x = case.weight("x", [1, T, D])

    def diagonal(blocks_of, values):
        part, result = len(values) // len(blocks_of), []
        for n, block in enumerate(blocks_of):
            result += linear(block, [0.0] * len(block), values[n * part:(n + 1) * part])
        return result

    rows = []
    for token in x[0]:
        h = diagonal(A, token)
        g = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in h[:I]]
        if gated:
            g = [p * q for p, q in zip(g, h[I:])]
        rows.append([p + q for p, q in zip(diagonal(B, g), b)])
    case.expect("y", [rows])
    return case


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..", "tests", "golden",
                                                                "monarch")
    cases = {
        "causal": sequence_mixer(1, 3, 9, 9, 4, 5, False, True),
        "causal-plain": sequence_mixer(2, 4, 6, 9, 4, 3, False, False),
        "bidirectional": sequence_mixer(3, 3, 8, 8, 4, 5, True, True),
        "bidirectional-short": sequence_mixer(4, 2, 11, 5, 4, 3, True, False),
        "mlp-gated": channel_mixer(5, 8, 12, 4, 3, True),
        "mlp-plain": channel_mixer(6, 6, 9, 3, 3, False),
    }
    for name, case in cases.items():
        case.write(os.path.join(folder, name + ".safetensors"))


if __name__ == "__main__":
    main()
