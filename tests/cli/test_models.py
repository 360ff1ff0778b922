#!/usr/bin/env python3
"""The program on models that others trained, with the answers that they give.

    test_models.py PROGRAM SOURCE [unittest arguments]

The variable SEQMIX_SHARED names the folder of files made by others, by default ../shared beside the
folder SOURCE; without it the tests are skipped (exit status 77), or
fail where SEQMIX_REQUIRE_DATA is set. Expected logits are of an independent forward pass in double.
"""

import gzip
import math
import os
import struct
import sys
import unittest

import test_cli

SHARED = ""


def shared(*names):
    return os.path.join(SHARED, *names)


def largest_difference(a, b):
    return max(abs(x - y) for x, y in zip(a, b))


def gguf_text(text):
    return struct.pack("<Q", len(text)) + text


def stories_gguf():
    """stories260K.bin and its pieces as one GGUF file in F32."""
    with open(shared("data", "stories260k", "tok512.bin"), "rb") as file:
        raw = file.read()
    at, pieces = 4, []
    while at < len(raw):
        score, length = struct.unpack_from("<fi", raw, at)
        pieces.append((raw[at + 8:at + 8 + length].replace(b" ", "\u2581".encode()), score))
        at += 8 + length
    with open(shared("data", "stories260k", "stories260K.bin"), "rb") as file:
        raw = file.read()
    D, I, L, H, Hk, V, M = struct.unpack_from("<7i", raw)
    K, at, tensors = D // H * Hk, 28, {}
    for name, layers, rows, columns in (
            ("token_embd", 0, V, D), ("attn_norm", L, 1, D), ("attn_q", L, D, D), ("attn_k", L, K, D),
            ("attn_v", L, K, D), ("attn_output", L, D, D), ("ffn_norm", L, 1, D), ("ffn_gate", L, I, D),
            ("ffn_down", L, D, I), ("ffn_up", L, I, D), ("output_norm", 0, 1, D)):
        for layer in range(max(layers, 1)):
            full = (f"blk.{layer}." if layers else "") + name + ".weight"
            axes = (columns,) if name.endswith("norm") else (columns, rows)
            tensors[full] = axes, raw[at:at + 4 * rows * columns]
            at += 4 * rows * columns
    u32, f32, text, array = 4, 6, 8, 9
    keys = [(b"general.architecture", text, gguf_text(b"llama")),
            (b"llama.attention.layer_norm_rms_epsilon", f32, struct.pack("<f", 1e-5)),
            (b"tokenizer.ggml.model", text, gguf_text(b"llama")),
            (b"tokenizer.ggml.tokens", array,
             struct.pack("<IQ", text, V) + b"".join(gguf_text(piece) for piece, _ in pieces)),
            (b"tokenizer.ggml.scores", array,
             struct.pack(f"<IQ{V}f", f32, V, *(score for _, score in pieces))),
            (b"tokenizer.ggml.token_type", array,
             struct.pack(f"<IQ{V}I", u32, V, *([2, 3, 3] + [6] * 256 + [1] * (V - 259))))]
    for name, value in (("context_length", M), ("embedding_length", D), ("feed_forward_length", I), ("block_count", L),
                        ("attention.head_count", H), ("attention.head_count_kv", Hk)):
        keys.append((b"llama." + name.encode(), u32, struct.pack("<I", value)))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(gguf_text(name) + struct.pack("<I", kind) + value for name, kind, value in keys)
    offset = 0
    for name, (axes, data) in tensors.items():
        head += gguf_text(name.encode()) + struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, 0, offset)
        offset += len(data) + -len(data) % 32
    padded = [head] + [data for _, data in tensors.values()]
    return b"".join(part + bytes(-len(part) % 32) for part in padded)


def seqmix_on(model, *files):
    return test_cli.seqmix("classify", "--model", model, *files)


class Mnist(test_cli.Case):
    # Sanitized programs take minutes for all of them.
    few = os.environ.get("SEQMIX_TEST_SCALE") == "small"

    def setUp(self):
        super().setUp()
        for kind in ("images-idx3", "labels-idx1"):
            with gzip.open(shared("data", "mnist", f"t10k-{kind}-ubyte.gz")) as file:
                self.write(kind, file.read())

    def classify(self, model, limit, *arguments):
        return self.json("classify", "--threads", 1, "--model", shared("data", *model), self.path("images-idx3"),
                         "--labels", self.path("labels-idx1"), "--limit", limit, *arguments)

    def test_s4_reads_digits(self):
        model = ("s4-smnist", "s4_smnist_ckpt.pth")
        first = [-3.74051, .85247, -.61412, -2.21800, 1.25661, -5.86719, -12.69175, 13.19622, -4.74816,
                 6.45458]
        images = 20 if self.few else 100
        whole, steps = (self.classify(model, images, "--chunk", chunk) for chunk in (0, 1))
        for result in (whole, steps):
            self.assertEqual(result["right"], images - 1)
            wrong = [(item["name"], item["class"]) for item in result["items"]
                     if item["class"] != item["label"]]
            self.assertEqual(wrong, [("18", 9)])
            self.assertLess(largest_difference(result["items"][0]["logits"], first), 1e-4)
        for a, b in zip(whole["items"], steps["items"]):
            self.assertLess(largest_difference(a["logits"], b["logits"]), 1e-4)
        for level, tolerance in (("generic", 1e-4), ("reference", 2e-5)):
            other = self.classify(model, 1, "--isa", level)["items"][0]["logits"]
            self.assertLess(largest_difference(other, first), tolerance)

    def test_ckcnn_reads_digits(self):
        model = ("ckconv", "ckcnn_smnist_30.pt")
        images, right = (20, 20) if self.few else (500, 498)
        result = self.classify(model, images, "--open", "omega_0=31.09195739463897", "--mean",
                               .1307, "--std", .3081)
        self.assertEqual(result["right"], right)
        self.assertLess(largest_difference(result["items"][0]["logits"], [
            -14.94756, -5.09423, -5.46633, -2.56289, -5.99558, -11.39695, -25.89425, 10.47805,
            -12.32621, -2.88536]), 2e-4)
        done = seqmix_on(shared("data", *model), self.path("images-idx3"))
        self.assertIn(b"'omega_0' is missing", done.stderr)

    def test_options_of_a_scheme(self):
        model = ("s4-smnist", "s4_smnist_ckpt.pth")
        plain = self.classify(model, 1)["items"][0]["logits"]
        other = self.classify(model, 1, "--open", "prenorm=true")["items"][0]["logits"]
        self.assertGreater(largest_difference(plain, other), 0.1)
        self.refused(test_cli.CANNOT_READ, "inspect", self.path("images-idx3"))
        base = ["classify", "--model", shared("data", *model), self.path("images-idx3")]
        self.refused(test_cli.CANNOT_READ, *base, "--open", "omega_0=3",
                     says="no option 'omega_0' for the scheme s4_classifier, expected one of: lenient")
        self.refused(test_cli.CANNOT_READ, *base, "--open", "discretization=euler",
                     says="option 'discretization' is 'euler', expected zoh|bilinear|dss")
        self.refused(test_cli.CANNOT_READ, *base, "--open", "prenorm=3", says="expected bool")


class Pictures(test_cli.Case):
    def test_s4d_on_a_made_up_picture(self):
        rows = [",".join(f"{.5 + .5 * math.sin(.05 * t + .9 * c):.9g}" for c in range(3))
                for t in range(1024)]
        picture = self.write("picture.csv", "\n".join(rows).encode())
        expected = [.285033, 1.133415, 1.442659, -.188483, -.180461, -1.436547, -.225928, -2.426632,
                    3.144732, .600515]
        results = [self.json("classify", "--threads", 1, "--model", shared("data", "s4d-cifar10", "ethorondor_ckpt.pth"),
                             picture, "--mean", ".4914,.4822,.4465", "--std", ".2023,.1994,.2010",
                             "--chunk", chunk)["items"][0]["logits"] for chunk in (0, 1, 100)]
        for logits in results:
            self.assertLess(largest_difference(logits, expected), 3e-5)
            self.assertLess(largest_difference(logits, results[0]), 1e-5 * max(map(abs, expected)))


class Dna(test_cli.Case):
    def test_score_and_run(self):
        model = shared("golden", "longconv-op-hyenadna-hf")
        ids = {base: 7 + i for i, base in enumerate("ACGTN")}
        records = ["ACGTTGCANN", "ggattacax"]
        fasta = self.write("a.fa", f">one\n{records[0][:6]}\n{records[0][6:]}\n>two | 2\n"
                                   f"{records[1]}# a comment\n".encode())
        result = self.json("score", "--threads", 1, "--model", model, "--text", fasta)
        self.assertEqual(result["tokens"], 9 + 8)
        nats = []
        for record in records:
            tokens = [ids.get(base.upper(), 6) for base in record]
            file = self.write("ids", " ".join(map(str, tokens)).encode())
            nats += self.json("score", "--threads", 1, "--model", model, "--tokens", file)["token_nats"]
        self.assertEqual(result["token_nats"], nats)
        bare = self.write("bare", b"ACGTTGCANN\n")
        self.assertEqual(self.json("score", "--threads", 1, "--model", model, "--text",
                                   bare)["token_nats"], nats[:9])
        done = self.json("run", "--threads", 1, "--model", model, "--prompt", "ACGT", "-n", 5)
        self.assertEqual(done["text"], "".join("ACGTN"[t - 7] if 7 <= t < 12 else "?"
                                               for t in done["tokens"]))


class Transformers(test_cli.Case):
    def stories(self, *arguments, command="run", tokenizer=None):
        return [command, "--threads", 1, "--model", shared("data", "stories260k", "stories260K.bin"),
                "--tokenizer", tokenizer or shared("data", "stories260k", "tok512.bin"), *arguments]

    def test_a_story_byte_for_byte(self):
        with open(shared("data", "stories260k", "expected_greedy_64.txt"), "rb") as file:
            expected = file.read()
        done = self.ok(*self.stories("-n", 64, "--temperature", 0))
        self.assertEqual(done.stdout, expected)
        # A session saved and gone on with.
        first = self.ok(*self.stories("-n", 20, "--temperature", 0, "--save-state", self.path("s")))
        rest = self.ok(*self.stories("-n", 44, "--temperature", 0, "--load-state", self.path("s")))
        self.assertEqual(first.stdout + rest.stdout, expected)
        # The text is encoded as it was decoded: the ids that were generated are those of the text.
        ids = self.json(*self.stories("-n", 64, "--temperature", 0))["tokens"]
        text = self.write("text", expected)
        tokens = self.write("ids", " ".join(map(str, [1] + ids)).encode())
        scores = [self.json(*self.stories(flag, file, command="score"))["token_nats"]
                  for flag, file in (("--text", text), ("--tokens", tokens))]
        self.assertEqual(*scores)
        self.assertEqual(len(scores[0]), 64)

    def test_the_same_story_from_gguf(self):
        """With its own vocabulary, no other file: as llama.cpp's users have it."""
        with open(shared("data", "stories260k", "expected_greedy_64.txt"), "rb") as file:
            expected = file.read()
        whole = stories_gguf()
        model = self.write("stories.gguf", whole)
        done = self.ok("run", "--threads", 1, "--model", model, "-n", 64, "--temperature", 0)
        self.assertEqual(done.stdout, expected)
        text = self.write("text", expected)
        nats = [self.json(*arguments)["token_nats"] for arguments in
                (["score", "--threads", 1, "--model", model, "--text", text],
                 self.stories("--text", text, command="score"))]
        self.assertEqual(*nats)
        info = self.json("inspect", model)
        self.assertEqual((info["format"], info["scheme"]), ("GGUF", "gguf_llama"))
        self.assertEqual(info["parameters"], 260032)
        # Without a vocabulary that is known it is a model of ids.
        other = self.write("other.gguf", whole.replace(gguf_text(b"llama"), gguf_text(b"bert!")).replace(
            gguf_text(b"bert!"), gguf_text(b"llama"), 1))
        done = self.ok("run", "--threads", 1, "--model", other, "--tokens", self.write("ids", b"1"), "-n", 7)
        self.assertEqual(done.stdout.split(), b"403 407 261 378 432 383 286".split())
        self.assertIn(b"'tokenizer.ggml.model' is 'bert!', expected gpt2 or llama", done.stderr)
        self.refused(test_cli.USAGE, "run", "--model", other, "--prompt", "a", says="is 'bert!'")
        self.refused(test_cli.CANNOT_READ, "inspect", self.write("short.gguf", whole[:-40]), says="GGUF: tensor")

    def test_converted_files_tell_the_same_story(self):
        with open(shared("data", "stories260k", "expected_greedy_64.txt"), "rb") as file:
            expected = file.read()
        text = self.write("text", expected)
        for kind, model in (("gguf", self.write("stories.gguf", stories_gguf())),
                            ("bin", shared("data", "stories260k", "stories260K.bin"))):
            for weights in ("stored", "bf16", "int8"):
                out = self.path(f"{kind}-{weights}")
                made = self.json("convert", model, out, "--weights", weights)
                self.assertEqual(made["carried"], ["tokenizer.gguf"] if kind == "gguf" else [])
                self.assertEqual(os.path.getsize(made["file"]), made["bytes"])
                extra = [] if kind == "gguf" else ["--tokenizer", shared("data", "stories260k", "tok512.bin")]
                nats = [self.json("score", "--threads", 1, "--model", path, "--text", text, *more, *extra)["token_nats"]
                        for path, more in ((model, ["--weights", weights]), (out, []))]
                self.assertEqual(*nats)
                done = self.ok("run", "--threads", 1, "--model", out, "-n", 64, "--temperature", 0, *extra)
                if weights == "stored":
                    self.assertEqual(done.stdout, expected)
        # A folder with one GGUF file and nothing else is that model, a vocabulary file serves any.
        folder = self.path("alone")
        os.mkdir(folder)
        with open(os.path.join(folder, "some-model.gguf"), "wb") as file:
            file.write(stories_gguf())
        done = self.ok("run", "--threads", 1, "--model", folder, "-n", 64, "--temperature", 0)
        self.assertEqual(done.stdout, expected)
        done = self.ok("run", "--threads", 1, "--model", shared("data", "stories260k", "stories260K.bin"),
                       "--tokenizer", self.path("gguf-int8/tokenizer.gguf"), "-n", 64, "--temperature", 0)
        self.assertEqual(done.stdout, expected)
        with open(os.path.join(folder, "another.gguf"), "wb") as file:
            file.write(stories_gguf())
        self.refused(test_cli.CANNOT_READ, "inspect", folder, says="2 files *.gguf, expected one")

    def test_bytes_that_are_no_pieces(self):
        ids = self.json(*self.stories("--echo", "-n", 0, "--prompt", "caf\u00e9 \u2603"))
        self.assertEqual(ids["tokens"], [])
        done = self.ok(*self.stories("--echo", "-n", 0, "--prompt", "caf\u00e9 \u2603"))
        self.assertEqual(done.stdout.decode(), "caf\u00e9 \u2603")

    def test_damaged_tokenizers(self):
        with open(shared("data", "stories260k", "tok512.bin"), "rb") as file:
            good = file.read()
        for name, content in (("empty", b""), ("short", good[:-1]), ("long", good + b"\0"),
                              ("piece", good + bytes(8)), ("length", good[:8] + b"\xff" * 4 + good[12:]),
                              ("score", good[:4] + b"\0\0\xc0\x7f" + good[8:])):
            file = self.write(name, content)
            self.refused(test_cli.CANNOT_READ, *self.stories("-n", 1, tokenizer=file),
                         says="not a tokenizer of this model")

    def test_characters_and_options(self):
        model = shared("data", "makemore", "makemore_transformer.pt")
        self.refused(test_cli.CANNOT_READ, "inspect", model, says="the option 'n_head' gives it")
        letters = ".abcdefghijklmnopqrstuvwxyz"
        base = ["--threads", 1, "--model", model, "--open", "n_head=4"]
        name = self.write("name", b".emma.")
        score = self.json("score", *base, "--characters", letters, "--text", name)
        self.assertAlmostEqual(score["nats"], 9.310778, delta=1e-4)
        self.refused(test_cli.USAGE, "run", *base, "--characters", letters, "--prompt", ".E",
                     says="has 'E', which is none of --characters")
        self.refused(test_cli.USAGE, "run", *base, "--characters", "abc", "--prompt", "a",
                     says="3 different characters, expected as many as the model's vocabulary, 27")

    def test_attention_maps(self):
        ids = self.write("ids", b"1 403 407 261 378 432 383 286 261")
        for lane in (0, 7):
            result = self.json("plot", "--model", shared("data", "stories260k", "stories260K.bin"),
                               "--tokens", ids, "--block", 2, "--lane", lane, "--out",
                               self.path("map.svg"))
            n, matrix = result["tokens"], result["matrix"]
            self.assertEqual(n, 9)
            for i in range(n):
                row = matrix[i * n:(i + 1) * n]
                self.assertAlmostEqual(sum(row), 1, delta=1e-12)
                self.assertTrue(all(x > 0 for x in row[:i + 1]) and not any(row[i + 1:]))
        self.refused(test_cli.USAGE, "plot", "--model",
                     shared("data", "stories260k", "stories260K.bin"), "--tokens", ids, "--block", 1,
                     "--out", self.path("map.svg"), says="no mixing matrix")


if __name__ == "__main__":
    test_cli.PROGRAM, source = map(os.path.abspath, sys.argv[1:3])
    SHARED = os.environ.get("SEQMIX_SHARED") or os.path.join(source, "..", "shared")
    del sys.argv[1:3]
    if not os.path.isdir(os.path.join(SHARED, "data")):
        print(f"needs {SHARED}; SEQMIX_SHARED names the folder")
        sys.exit(1 if os.environ.get("SEQMIX_REQUIRE_DATA", "0") not in ("", "0") else 77)
    unittest.main()
