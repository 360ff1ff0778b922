#!/usr/bin/env python3
"""Writes a model of mamba-130m's shape with random weights: what the whole-model rows run.

  bench/model_130m.py FOLDER             FOLDER/config.json and FOLDER/model.safetensors (517 MB)
  bench/model_130m.py --gguf FILE        the same weights as GGUF, f32, for llama.cpp

24 layers, width 768, inner width 1536, state 16, convolution 4, dt rank 48, vocabulary 50280, tied
head. Deterministic: equal bytes for equal --seed. Weights have a random sign and mantissa under one
exponent, so that masks over big integers make them (no NumPy needed); their size is that of the usual
initialisation. Nothing here depends on the project.
"""
import argparse
import array
import json
import math
import os
import random
import struct
import sys

VOCABULARY, WIDTH, LAYERS, STATES, TAPS, RANK = 50280, 768, 24, 16, 4, 48
INNER = 2 * WIDTH
CHUNK = 1 << 20  # floats

CONFIG = {
    "architectures": ["MambaForCausalLM"], "model_type": "mamba", "dtype": "float32",
    "torch_dtype": "float32", "vocab_size": VOCABULARY, "hidden_size": WIDTH,
    "intermediate_size": INNER, "num_hidden_layers": LAYERS, "state_size": STATES,
    "conv_kernel": TAPS, "time_step_rank": RANK, "expand": 2, "hidden_act": "silu",
    "layer_norm_epsilon": 1e-5, "residual_in_fp32": True, "use_bias": False,
    "use_conv_bias": True, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": 0,
}

MATMUL_FLOPS_PER_TOKEN = LAYERS * 2 * (WIDTH * 2 * INNER + INNER * (RANK + 2 * STATES)
                                       + RANK * INNER + INNER * WIDTH)


def floats(values):
    data = array.array("f", values)
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def noise(generator, count, deviation):
    """`count` f32 of mean 0 and about this deviation, in pieces: +-[1,2) times a power of two."""
    exponent = 127 + round(math.log2(deviation / 1.53))  # 1.53: root mean square of [1,2)
    while count > 0:
        n = min(count, CHUNK)
        keep = int.from_bytes(struct.pack("<I", 0x807FFFFF) * n, "little")
        power = int.from_bytes(struct.pack("<I", exponent << 23) * n, "little")
        yield ((generator.getrandbits(32 * n) & keep) | power).to_bytes(4 * n, "little")
        count -= n


class Tensor:
    """name, shape, and a function that gives its bytes in pieces."""

    def __init__(self, name, gguf, shape, pieces):
        self.name, self.gguf, self.shape, self.pieces = name, gguf, shape, pieces
        self.bytes = 4 * math.prod(shape)


def tensors(seed):
    """In one order for both formats: every tensor has a generator of its own."""
    def random_tensor(name, gguf, shape, deviation):
        return Tensor(name, gguf, shape, lambda: noise(random.Random(f"{seed} {name}"),
                                                       math.prod(shape), deviation))

    def constant(name, gguf, shape, values):
        return Tensor(name, gguf, shape, lambda: [floats(values())])

    yield random_tensor("backbone.embeddings.weight", "token_embd.weight", (VOCABULARY, WIDTH), 0.02)
    yield constant("backbone.norm_f.weight", "output_norm.weight", (WIDTH,), lambda: [1.0] * WIDTH)
    for i in range(LAYERS):
        here, there = f"backbone.layers.{i}.mixer.", f"blk.{i}."
        yield constant(f"backbone.layers.{i}.norm.weight", there + "attn_norm.weight", (WIDTH,),
                       lambda: [1.0] * WIDTH)
        yield random_tensor(here + "in_proj.weight", there + "ssm_in.weight", (2 * INNER, WIDTH),
                            WIDTH ** -0.5)
        yield random_tensor(here + "conv1d.weight", there + "ssm_conv1d.weight", (INNER, 1, TAPS), 0.3)
        yield random_tensor(here + "conv1d.bias", there + "ssm_conv1d.bias", (INNER,), 0.1)
        yield random_tensor(here + "x_proj.weight", there + "ssm_x.weight",
                            (RANK + 2 * STATES, INNER), INNER ** -0.5)
        yield random_tensor(here + "dt_proj.weight", there + "ssm_dt.weight", (INNER, RANK),
                            RANK ** -0.5)
        bias = random.Random(f"{seed} {here}dt_proj.bias")
        steps = [bias.uniform(-6, -2) for _ in range(INNER)]
        yield constant(here + "dt_proj.bias", there + "ssm_dt.bias", (INNER,), lambda v=steps: v)
        # A = -1 ... -N; GGUF holds A itself, the others log(-A).
        yield constant(here + "A_log", there + "ssm_a", (INNER, STATES),
                       lambda: [math.log(n + 1) for n in range(STATES)] * INNER)
        yield constant(here + "D", there + "ssm_d", (INNER,), lambda: [1.0] * INNER)
        yield random_tensor(here + "out_proj.weight", there + "ssm_out.weight", (WIDTH, INNER),
                            INNER ** -0.5)


def write_safetensors(folder, seed):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "model.safetensors")
    header, offset, listed = {"__metadata__": {"format": "pt"}}, 0, list(tensors(seed))
    for tensor in listed:
        header[tensor.name] = {"dtype": "F32", "shape": list(tensor.shape),
                               "data_offsets": [offset, offset + tensor.bytes]}
        offset += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 64)
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in listed:
            file.writelines(tensor.pieces())
    os.rename(path + ".part", path)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(CONFIG, file, indent=2)
        file.write("\n")


# ------------------------------------------------------------------ GGUF, version 3

UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, value):
    form = {UINT32: "<I", INT32: "<i", FLOAT32: "<f"}
    if isinstance(value, list):
        body = b"".join(string(v) if kind == STRING else struct.pack(form[kind], v) for v in value)
        return string(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + body
    body = string(value) if kind == STRING else struct.pack(form[kind], value)
    return string(key) + struct.pack("<I", kind) + body


def write_gguf(path, seed):
    words = ["<|endoftext|>"] + [f"t{i}" for i in range(1, VOCABULARY)]
    entries = [
        entry("general.architecture", STRING, "mamba"),
        entry("general.name", STRING, "random weights of mamba-130m's shape"),
        entry("general.file_type", UINT32, 0), entry("general.alignment", UINT32, 32),
        entry("mamba.context_length", UINT32, 1 << 20),
        entry("mamba.embedding_length", UINT32, WIDTH),
        entry("mamba.feed_forward_length", UINT32, 0),
        entry("mamba.attention.head_count", UINT32, 0), entry("mamba.block_count", UINT32, LAYERS),
        entry("mamba.vocab_size", UINT32, VOCABULARY), entry("mamba.ssm.conv_kernel", UINT32, TAPS),
        entry("mamba.ssm.inner_size", UINT32, INNER), entry("mamba.ssm.state_size", UINT32, STATES),
        entry("mamba.ssm.time_step_rank", UINT32, RANK),
        entry("mamba.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        entry("tokenizer.ggml.model", STRING, "gpt2"), entry("tokenizer.ggml.pre", STRING, "default"),
        entry("tokenizer.ggml.tokens", STRING, words),
        entry("tokenizer.ggml.token_type", INT32, [3] + [1] * (VOCABULARY - 1)),
        entry("tokenizer.ggml.merges", STRING, ["t 1"]),
        entry("tokenizer.ggml.bos_token_id", UINT32, 0),
        entry("tokenizer.ggml.eos_token_id", UINT32, 0),
    ]
    listed, infos, offset = list(tensors(seed)), [], 0
    for tensor in listed:
        shape = [n for n in tensor.shape if n != 1][::-1]
        infos.append(string(tensor.gguf) + struct.pack("<I", len(shape))
                     + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0, offset))
        offset += (tensor.bytes + 31) // 32 * 32
    head = (b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(entries)) + b"".join(entries)
            + b"".join(infos))
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".part", "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32))
        for tensor in listed:
            if tensor.gguf.endswith("ssm_a"):
                file.write(floats([-(n + 1.0) for n in range(STATES)] * INNER))
            else:
                file.writelines(tensor.pieces())
            file.write(b"\0" * (-tensor.bytes % 32))
    os.rename(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(prog="bench/model_130m.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--gguf", action="store_true", help="one GGUF file instead of a folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    (write_gguf if arguments.gguf else write_safetensors)(arguments.path, arguments.seed)
    print(arguments.path)


if __name__ == "__main__":
    main()
