#!/usr/bin/env python3
"""Writes a model with random weights: what the whole-model rows run.

  bench/model_130m.py FOLDER             FOLDER/config.json and FOLDER/model.safetensors (517 MB)
  bench/model_130m.py --gguf FILE        the same weights as GGUF, f32, for llama.cpp
  bench/model_130m.py --shape llama ...  a transformer of 124M weights (494 MB) in place of a Mamba

mamba: mamba-130m's shape: 24 layers, width 768, inner width 1536, state 16, convolution 4, dt rank 48.
llama: Llama's blocks at GPT-2's size: 12 layers, width 768, 12 heads of 64, SwiGLU of 2048, rotary
positions. Both have a vocabulary of 50280 and a tied head.

Deterministic: equal bytes for equal --seed. Weights have a random sign and mantissa under one
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
BLOCKS, HEADS, HIDDEN, CONTEXT = 12, 12, 2048, 1 << 16  # of the transformer
CHUNK = 1 << 20  # floats

CONFIGS = {"mamba": {
    "architectures": ["MambaForCausalLM"], "model_type": "mamba", "dtype": "float32",
    "torch_dtype": "float32", "vocab_size": VOCABULARY, "hidden_size": WIDTH,
    "intermediate_size": INNER, "num_hidden_layers": LAYERS, "state_size": STATES,
    "conv_kernel": TAPS, "time_step_rank": RANK, "expand": 2, "hidden_act": "silu",
    "layer_norm_epsilon": 1e-5, "residual_in_fp32": True, "use_bias": False,
    "use_conv_bias": True, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": 0,
}, "llama": {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32",
    "torch_dtype": "float32", "vocab_size": VOCABULARY, "hidden_size": WIDTH,
    "intermediate_size": HIDDEN, "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "head_dim": WIDTH // HEADS, "hidden_act": "silu",
    "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "bos_token_id": 0,
    "eos_token_id": 0,
}}


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


class Maker:
    """Tensors of one seed: each has a generator of its own."""

    def __init__(self, seed):
        self.seed = seed

    def random(self, name, gguf, shape, deviation):
        return Tensor(name, gguf, shape, lambda: noise(random.Random(f"{self.seed} {name}"),
                                                       math.prod(shape), deviation))

    @staticmethod
    def constant(name, gguf, shape, values):
        return Tensor(name, gguf, shape, lambda: [floats(values())])


def ones():
    return [1.0] * WIDTH


# In one order for both formats.
def mamba_tensors(make):
    yield make.random("backbone.embeddings.weight", "token_embd.weight", (VOCABULARY, WIDTH), 0.02)
    yield make.constant("backbone.norm_f.weight", "output_norm.weight", (WIDTH,), ones)
    for i in range(LAYERS):
        here, there = f"backbone.layers.{i}.mixer.", f"blk.{i}."
        yield make.constant(f"backbone.layers.{i}.norm.weight", there + "attn_norm.weight",
                            (WIDTH,), ones)
        yield make.random(here + "in_proj.weight", there + "ssm_in.weight", (2 * INNER, WIDTH),
                          WIDTH ** -0.5)
        yield make.random(here + "conv1d.weight", there + "ssm_conv1d.weight", (INNER, 1, TAPS),
                          0.3)
        yield make.random(here + "conv1d.bias", there + "ssm_conv1d.bias", (INNER,), 0.1)
        yield make.random(here + "x_proj.weight", there + "ssm_x.weight",
                          (RANK + 2 * STATES, INNER), INNER ** -0.5)
        yield make.random(here + "dt_proj.weight", there + "ssm_dt.weight", (INNER, RANK),
                          RANK ** -0.5)
        bias = random.Random(f"{make.seed} {here}dt_proj.bias")
        steps = [bias.uniform(-6, -2) for _ in range(INNER)]
        yield make.constant(here + "dt_proj.bias", there + "ssm_dt.bias", (INNER,),
                            lambda v=steps: v)
        # A = -1 ... -N; GGUF holds A itself, the others log(-A).
        yield make.constant(here + "A_log", there + "ssm_a", (INNER, STATES),
                            lambda: [math.log(n + 1) for n in range(STATES)] * INNER)
        yield make.constant(here + "D", there + "ssm_d", (INNER,), lambda: [1.0] * INNER)
        yield make.random(here + "out_proj.weight", there + "ssm_out.weight", (WIDTH, INNER),
                          INNER ** -0.5)


def llama_tensors(make):
    """llama.cpp's converter permutes rows of queries and keys; random ones are as good without."""
    yield make.random("model.embed_tokens.weight", "token_embd.weight", (VOCABULARY, WIDTH), 0.02)
    yield make.constant("model.norm.weight", "output_norm.weight", (WIDTH,), ones)
    for i in range(BLOCKS):
        here, there = f"model.layers.{i}.", f"blk.{i}."
        yield make.constant(here + "input_layernorm.weight", there + "attn_norm.weight", (WIDTH,),
                            ones)
        for name, gguf in (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v"),
                           ("o_proj", "attn_output")):
            yield make.random(f"{here}self_attn.{name}.weight", f"{there}{gguf}.weight",
                              (WIDTH, WIDTH), WIDTH ** -0.5)
        yield make.constant(here + "post_attention_layernorm.weight", there + "ffn_norm.weight",
                            (WIDTH,), ones)
        for name, gguf, shape in (("gate_proj", "ffn_gate", (HIDDEN, WIDTH)),
                                  ("up_proj", "ffn_up", (HIDDEN, WIDTH)),
                                  ("down_proj", "ffn_down", (WIDTH, HIDDEN))):
            yield make.random(f"{here}mlp.{name}.weight", f"{there}{gguf}.weight", shape,
                              shape[1] ** -0.5)


TENSORS = {"mamba": mamba_tensors, "llama": llama_tensors}


def write_safetensors(folder, shape, seed):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "model.safetensors")
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    listed = list(TENSORS[shape](Maker(seed)))
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
        json.dump(CONFIGS[shape], file, indent=2)
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


def gguf_sizes(shape):
    if shape == "llama":
        return [
            entry("llama.context_length", UINT32, CONTEXT),
            entry("llama.embedding_length", UINT32, WIDTH),
            entry("llama.feed_forward_length", UINT32, HIDDEN),
            entry("llama.attention.head_count", UINT32, HEADS),
            entry("llama.attention.head_count_kv", UINT32, HEADS),
            entry("llama.block_count", UINT32, BLOCKS),
            entry("llama.vocab_size", UINT32, VOCABULARY),
            entry("llama.rope.dimension_count", UINT32, WIDTH // HEADS),
            entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        ]
    return [
        entry("mamba.context_length", UINT32, 1 << 20),
        entry("mamba.embedding_length", UINT32, WIDTH),
        entry("mamba.feed_forward_length", UINT32, 0),
        entry("mamba.attention.head_count", UINT32, 0), entry("mamba.block_count", UINT32, LAYERS),
        entry("mamba.vocab_size", UINT32, VOCABULARY), entry("mamba.ssm.conv_kernel", UINT32, TAPS),
        entry("mamba.ssm.inner_size", UINT32, INNER), entry("mamba.ssm.state_size", UINT32, STATES),
        entry("mamba.ssm.time_step_rank", UINT32, RANK),
        entry("mamba.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
    ]


def write_gguf(path, shape, seed):
    words = ["<|endoftext|>"] + [f"t{i}" for i in range(1, VOCABULARY)]
    entries = [
        entry("general.architecture", STRING, shape),
        entry("general.name", STRING, f"random weights, {shape}"),
        entry("general.file_type", UINT32, 0), entry("general.alignment", UINT32, 32),
        *gguf_sizes(shape),
        entry("tokenizer.ggml.model", STRING, "gpt2"), entry("tokenizer.ggml.pre", STRING, "default"),
        entry("tokenizer.ggml.tokens", STRING, words),
        entry("tokenizer.ggml.token_type", INT32, [3] + [1] * (VOCABULARY - 1)),
        entry("tokenizer.ggml.merges", STRING, ["t 1"]),
        entry("tokenizer.ggml.bos_token_id", UINT32, 0),
        entry("tokenizer.ggml.eos_token_id", UINT32, 0),
    ]
    listed, infos, offset = list(TENSORS[shape](Maker(seed))), [], 0
    for tensor in listed:
        sizes = [n for n in tensor.shape if n != 1][::-1]
        infos.append(string(tensor.gguf) + struct.pack("<I", len(sizes))
                     + struct.pack(f"<{len(sizes)}Q", *sizes) + struct.pack("<IQ", 0, offset))
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
    parser.add_argument("--shape", choices=CONFIGS, default="mamba")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write = write_gguf if arguments.gguf else write_safetensors
    write(arguments.path, arguments.shape, arguments.seed)
    print(arguments.path)


if __name__ == "__main__":
    main()
