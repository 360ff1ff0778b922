#!/usr/bin/env python3
"""GGUF files of models that are here in other formats, named and typed as llama.cpp's converter does it.

  tools/golden/gguf_models.py llama2c MODEL.bin TOKENIZER.bin FOLDER     llama2.c's weights and pieces
  tools/golden/gguf_models.py mamba MODEL_FOLDER FOLDER                  transformers' Mamba (model.safetensors, F32)

Each writes FOLDER/NAME-{f32,f16,bf16,q8_0}.gguf with the package `gguf` of llama.cpp's authors (PyPI), which
shares nothing with the library or with the writer of its tests: what tests/golden/gguf_test.cpp states was
measured on these files too.

Of a file of type T, in T are the matrices but `ssm_conv1d.weight`; what has one axis, and what has no suffix
`.weight`, is F32. Rows that do not divide by 32 are F16 in a file of Q8_0. Mamba's `ssm_a` is -exp(A_log).
"""
import json
import os
import struct
import sys

import gguf
import numpy as np

TYPES = {"f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
         "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
         "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
         "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0)}


def add(writer, name, values, kind):
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim < 2 or not name.endswith(".weight") or "conv1d" in name:
        kind = gguf.GGMLQuantizationType.F32
    elif kind == gguf.GGMLQuantizationType.Q8_0 and values.shape[-1] % 32 != 0:
        kind = gguf.GGMLQuantizationType.F16
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def write(path, architecture, kind, fill):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(TYPES[kind][1])
    for name, values in fill(writer):
        add(writer, name, values, TYPES[kind][0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(path, os.path.getsize(path))


# ------------------------------------------------------------------ llama2.c

def read_pieces(path):
    """(text, score) of each id."""
    with open(path, "rb") as file:
        data = file.read()
    at, pieces = 4, []
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        pieces.append((data[at + 8:at + 8 + length], score))
        at += 8 + length
    return pieces


def llama2c(model, tokenizer):
    with open(model, "rb") as file:
        raw = file.read()
    dim, hidden, layers, heads, kv_heads, vocab, tokens = struct.unpack_from("<7i", raw)
    kv = dim // heads * kv_heads
    values, at = np.frombuffer(raw, dtype="<f4", offset=28), 0

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return values[at - count:at].reshape(shape)

    embedding, att_norm = take(vocab, dim), take(layers, dim)
    wq, wk, wv = take(layers, dim, dim), take(layers, kv, dim), take(layers, kv, dim)
    wo, ffn_norm = take(layers, dim, dim), take(layers, dim)
    w1, w2, w3, norm = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim), take(dim)

    def fill(writer):
        writer.add_context_length(tokens)
        writer.add_embedding_length(dim)
        writer.add_feed_forward_length(hidden)
        writer.add_block_count(layers)
        writer.add_head_count(heads)
        writer.add_head_count_kv(kv_heads)
        writer.add_rope_dimension_count(dim // heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(vocab)
        pieces = read_pieces(tokenizer)
        names = [text.decode().replace(" ", "\u2581") for text, _ in pieces]
        names[:3] = ["<unk>", "<s>", "</s>"]
        kinds = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) - 259)
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(names)
        writer.add_token_scores([score for _, score in pieces])
        writer.add_token_types(kinds)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        yield "token_embd.weight", embedding
        yield "output_norm.weight", norm
        for layer in range(layers):
            for name, of in {"attn_norm": att_norm, "attn_q": wq, "attn_k": wk, "attn_v": wv, "attn_output": wo,
                             "ffn_norm": ffn_norm, "ffn_gate": w1, "ffn_down": w2, "ffn_up": w3}.items():
                yield f"blk.{layer}.{name}.weight", of[layer]
    return fill


# ------------------------------------------------------------------ Mamba

def mamba(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        raw = file.read()
    length = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8:8 + length])

    def tensor(name):
        begin, end = header[name]["data_offsets"]
        data = np.frombuffer(raw[8 + length + begin:8 + length + end], dtype="<f4")
        return data.reshape(header[name]["shape"])

    def fill(writer):
        D, N, K = config["hidden_size"], config["state_size"], config["conv_kernel"]
        E, R = tensor("backbone.layers.0.mixer.dt_proj.weight").shape
        writer.add_context_length(2 ** 20)
        writer.add_embedding_length(D)
        writer.add_feed_forward_length(0)
        writer.add_head_count(0)
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_ssm_conv_kernel(K)
        writer.add_ssm_inner_size(E)
        writer.add_ssm_state_size(N)
        writer.add_ssm_time_step_rank(R)
        writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
        yield "token_embd.weight", tensor("backbone.embeddings.weight")
        yield "output_norm.weight", tensor("backbone.norm_f.weight")
        for layer in range(config["num_hidden_layers"]):
            theirs, ours = f"backbone.layers.{layer}.", f"blk.{layer}."
            yield ours + "attn_norm.weight", tensor(theirs + "norm.weight")
            yield ours + "ssm_in.weight", tensor(theirs + "mixer.in_proj.weight")
            yield ours + "ssm_conv1d.weight", tensor(theirs + "mixer.conv1d.weight")[:, 0]
            yield ours + "ssm_conv1d.bias", tensor(theirs + "mixer.conv1d.bias")
            yield ours + "ssm_x.weight", tensor(theirs + "mixer.x_proj.weight")
            yield ours + "ssm_dt.weight", tensor(theirs + "mixer.dt_proj.weight")
            yield ours + "ssm_dt.bias", tensor(theirs + "mixer.dt_proj.bias")
            yield ours + "ssm_a", -np.exp(tensor(theirs + "mixer.A_log"))
            yield ours + "ssm_d", tensor(theirs + "mixer.D")
            yield ours + "ssm_out.weight", tensor(theirs + "mixer.out_proj.weight")
    return fill


def main():
    kinds = {"llama2c": (3, "llama", llama2c), "mamba": (2, "mamba", mamba)}
    if len(sys.argv) < 2 or sys.argv[1] not in kinds or len(sys.argv) != 2 + kinds[sys.argv[1]][0]:
        sys.exit(__doc__)
    _, architecture, read = kinds[sys.argv[1]]
    *sources, folder = sys.argv[2:]
    name = os.path.splitext(os.path.basename(os.path.normpath(sources[0])))[0]
    os.makedirs(folder, exist_ok=True)
    for kind in TYPES:
        write(os.path.join(folder, f"{name}-{kind}.gguf"), architecture, kind, read(*sources))


if __name__ == "__main__":
    main()
