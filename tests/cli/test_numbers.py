#!/usr/bin/env python3
"""Tests of the commands that take numbers: stream, classify, plot, bench.

    test_numbers.py PROGRAM MODEL [unittest arguments]     (or SEQMIX_BIN and SEQMIX_MODEL)

As test_cli.py, whose helpers these are. What the program was built without is skipped.
"""

import array
import gzip
import math
import os
import random
import struct
import sys
import unittest
import xml.etree.ElementTree
import zlib

import test_cli


def floats(values):
    return array.array("f", values).tobytes()


def npy(rows, columns, values, kind="<f4"):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    data = array.array("f" if kind == "<f4" else "d", values).tobytes()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def idx(*shape, values):
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(values)


def png(width, height, channels, samples):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(
            ">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + bytes(samples[y * width * channels:(y + 1) * width * channels])
                    for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" +
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0,
                                       0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def noise(count, seed=1):
    generator = random.Random(seed)
    return array.array("f", [generator.uniform(-1, 1) for _ in range(count)])


class Stream(test_cli.Case):
    LAYER = ["--mixer", "mamba", "--set", "d_model=4", "--threads", 1]

    def test_blocks_are_the_whole(self):
        samples = noise(4 * 1000)
        source = self.write("in.raw", samples.tobytes())
        outputs = []
        for block in (1000, 128, 7):
            target = self.path(f"out{block}.raw")
            result = self.json("stream", *self.LAYER, "--in", source, "--out", target, "--block",
                               block, "--rate", 1000)
            self.assertEqual((result["frames"], result["blocks"]), (1000, -(-1000 // block)))
            self.assertAlmostEqual(result["real_time_factor"], result["seconds"], places=9)
            self.assertLessEqual(result["median_s"], result["p999_s"])
            self.assertLessEqual(result["p999_s"], result["worst_s"])
            with open(target, "rb") as file:
                outputs.append(array.array("f", file.read()))
        self.assertEqual(len(outputs[0]), 4000)
        largest = max(map(abs, outputs[0]))
        self.assertGreater(largest, 0)
        for other in outputs[1:]:
            self.assertLess(max(abs(a - b) for a, b in zip(outputs[0], other)), 1e-5 * largest)
        # stdin to stdout gives the same bytes, and the figures on stderr.
        done = self.ok("stream", *self.LAYER, "--block", 128, stdin=samples.tobytes())
        self.assertEqual(done.stdout, outputs[1].tobytes())
        self.assertRegex(done.stderr.decode(), r"1,000 frames in 8 blocks of 128, real-time factor")
        self.assertIn("p99.9", done.stderr.decode())

    def test_sound_files(self):
        def wav(channels, values):
            data = floats(values)
            form = struct.pack("<HHIIHH", 3, channels, 16000, 16000 * 4 * channels, 4 * channels, 32)
            body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
            body += b"data" + struct.pack("<I", len(data)) + data
            return b"RIFF" + struct.pack("<I", len(body)) + body
        samples = noise(4 * 300)
        source = self.write("in.wav", wav(4, samples))
        if b"libsndfile" in test_cli.seqmix("stream", *self.LAYER, "--in", source).stderr:
            self.refused(test_cli.CANNOT_READ, "stream", *self.LAYER, "--in", source, says="without libsndfile")
            self.skipTest("the program was built without libsndfile")
        result = self.json("stream", *self.LAYER, "--in", source, "--out", self.path("a.raw"))
        self.assertEqual((result["frames"], result["rate"]), (300, 16000))
        raw = self.ok("stream", *self.LAYER, stdin=samples.tobytes()).stdout
        with open(self.path("a.raw"), "rb") as file:
            self.assertEqual(file.read(), raw)
        self.ok("stream", *self.LAYER, "--in", source, "--out", self.path("b.wav"))
        with open(self.path("b.wav"), "rb") as file:
            content = file.read()
        self.assertTrue(content.startswith(b"RIFF") and raw in content)
        with open(source, "rb") as file:
            piped = self.ok("stream", *self.LAYER, "--sound", stdin=file.read()).stdout
        self.assertEqual(piped, raw)
        self.refused(test_cli.CANNOT_READ, "stream", *self.LAYER, "--in", self.write("2.wav", wav(2, samples)),
                     says="has 2 channels, the layer takes 4")
        self.refused(test_cli.CANNOT_READ, "stream", *self.LAYER, "--in", self.write("bad.wav", b"RIFF"))

    def test_errors(self):
        self.refused(test_cli.CANNOT_READ, "stream", *self.LAYER, says="the input is empty")
        self.refused(test_cli.CANNOT_READ, "stream", *self.LAYER, stdin=b"abc", says="within a frame of 4")
        self.refused(test_cli.CANNOT_READ, "stream", "--model", test_cli.MODEL, says="takes tokens")
        self.refused(test_cli.USAGE, "stream", says="give one of --model, --mixer")
        self.refused(test_cli.USAGE, "stream", "--mixer", "no_such", says="no_such")
        self.refused(test_cli.CANNOT_READ, "stream", *self.LAYER, "--in", self.path("absent"), says="absent")


def write_classifier(folder):
    """A Mamba of one block without encoder tricks: 2 inputs, 3 classes, in mambalite's names."""
    shapes = {"linear_in.weight": [4, 2], "linear_in.bias": [4], "mamba.A_log": [8, 2],
              "mamba.D": [8], "mamba.conv1d.weight": [8, 1, 3], "mamba.conv1d.bias": [8],
              "mamba.in_proj.weight": [16, 4], "mamba.x_proj.weight": [5, 8],
              "mamba.dt_proj.weight": [8, 1], "mamba.dt_proj.bias": [8],
              "mamba.out_proj.weight": [4, 8], "classifier.weight": [3, 4], "classifier.bias": [3]}
    tensors = {}
    for seed, (name, shape) in enumerate(shapes.items()):
        count = 1
        for size in shape:
            count *= size
        tensors[name] = ("F32", shape, noise(count, seed).tobytes())
    test_cli.write_checkpoint(folder, {}, tensors)
    os.remove(os.path.join(folder, "config.json"))
    return os.path.join(folder, "model.safetensors")


class Classify(test_cli.Case):
    def setUp(self):
        super().setUp()
        self.model = write_classifier(self.path("model"))

    def classify(self, *arguments):
        return self.json("classify", "--model", self.model, "--threads", 1, *arguments)

    def test_series(self):
        values = noise(2 * 9)
        files = [self.write("a.npy", npy(9, 2, values)),
                 self.write("b.npy", npy(9, 2, values, "<f8")),
                 self.write("c.csv", "".join(
                     f"{values[2 * i]:.9g},{values[2 * i + 1]:.9g}\n" for i in range(9)).encode()),
                 self.write("d.txt", ("left right\n" + "".join(
                     f"{values[2 * i]:.9g}\t {values[2 * i + 1]:.9g}\r\n"
                     for i in range(9))).encode())]
        result = self.classify(*files)
        self.assertEqual(result["count"], 4)
        logits = result["items"][0]["logits"]
        self.assertEqual(len(logits), 3)
        for item in result["items"]:
            self.assertEqual(item["logits"], logits)
            self.assertEqual(item["class"], max(range(3), key=logits.__getitem__))
        for chunk in (1, 4):
            other = self.classify(files[0], "--chunk", chunk)["items"][0]["logits"]
            for a, b in zip(logits, other):
                self.assertAlmostEqual(a, b, places=5)
        # (x * scale - mean) / std is what the model sees.
        twice = self.write("twice.npy", npy(9, 2, [2 * v + (0.5, -1)[i % 2]
                                                   for i, v in enumerate(values)]))
        other = self.classify(twice, "--mean", "0.5,-1", "--std", 2)["items"][0]["logits"]
        for a, b in zip(logits, other):
            self.assertAlmostEqual(a, b, places=4)
        text = self.ok("classify", "--model", self.model, files[0]).stdout.decode()
        self.assertEqual(text.split("\t")[:2], [files[0], str(result["items"][0]["class"])])

    def test_pictures(self):
        pixels = [(37 * i) % 256 for i in range(3 * 4 * 2)]
        file = self.write("pictures", idx(3, 4, 2, values=pixels))  # 3 pictures, rows of 2
        result = self.classify(file)
        self.assertEqual([item["name"] for item in result["items"]], ["0", "1", "2"])
        series = self.write("one.npy", npy(4, 2, [v / 255 for v in pixels[8:16]]))
        for a, b in zip(result["items"][1]["logits"], self.classify(series)["items"][0]["logits"]):
            self.assertAlmostEqual(a, b, places=5)
        self.assertEqual(self.classify(file, "--first", 1, "--limit", 1)["items"],
                         result["items"][1:2])
        classes = [item["class"] for item in result["items"]]
        labels = self.write("labels", idx(3, values=[classes[0], 3 - classes[1] % 3, classes[2]]))
        self.assertEqual(self.classify(file, "--labels", labels)["right"],
                         2 + (3 - classes[1] % 3 == classes[1]))
        text = self.ok("classify", "--model", self.model, file, "--labels", labels).stdout.decode()
        self.assertRegex(text, r"right: [23] of 3\n$")
        packed = self.write("pictures.gz", gzip.compress(idx(3, 4, 2, values=pixels)))
        done = test_cli.seqmix("classify", "--model", self.model, packed)
        self.assertTrue(done.returncode == test_cli.OK or b"without zlib" in done.stderr, done.stderr)
        if done.returncode == test_cli.OK:
            self.assertEqual(self.classify(packed), result)
        one = self.write("one.png", png(2, 4, 1, pixels[8:16]))
        done = test_cli.seqmix("classify", "--model", self.model, one)
        if b"without libpng" in done.stderr:
            self.skipTest("the program was built without libpng")
        self.assertEqual(self.classify(one)["items"][0]["logits"], result["items"][1]["logits"])

    def test_errors(self):
        base = ["classify", "--model", self.model]
        bad = [(b"", "nothing in it"), (b"1,2\n3\n", "line 2 has 1 numbers, expected 2"),
               (b"1,2\nx,y\n", "line 2 is not numbers"), (npy(9, 3, [0] * 27), "(steps,2)"),
               (npy(9, 2, [0] * 17), "another number of values"), (b"\x93NUMPY\x01\x00", "cut short"),
               (idx(3, 5, 5, values=[0] * 75), "do not fit a model of 2 inputs"),
               (idx(3, 4, 2, values=[0] * 23), "has 23 values, expected 24"),
               (idx(4, values=[0] * 4), "holds no pictures"), (b"\x1f\x8bxx", ""),
               (b"\x89PNG\r\n\x1a\n", "")]
        for i, (content, says) in enumerate(bad):
            with self.subTest(says=says):
                self.refused(test_cli.CANNOT_READ, *base, self.write(f"bad{i}", content), says=says)
        good = self.write("good.csv", b"1,2\n")
        self.refused(test_cli.USAGE, *base, good, "--mean", "1,2,3", says="3 means")
        self.refused(test_cli.CANNOT_READ, *base, good, "--labels", self.write("none", b"[]"), says="0 labels")
        self.refused(test_cli.CANNOT_READ, "classify", "--model", test_cli.MODEL, good, says="takes tokens")


class Plot(test_cli.Case):
    LAYER = ["--mixer", "mamba", "--set", "d_model=4", "--length", 16]

    def test_mixing_matrix(self):
        out = self.path("a.svg")
        result = self.json("plot", *self.LAYER, "--out", out)
        matrix = [result["matrix"][16 * i:16 * i + 16] for i in range(16)]
        self.assertTrue(all(matrix[i][j] == 0 for i in range(16) for j in range(i + 1, 16)))
        self.assertTrue(any(matrix[i][0] != 0 for i in range(1, 16)))
        tree = xml.etree.ElementTree.parse(out)
        cells = tree.findall(".//{http://www.w3.org/2000/svg}rect")
        self.assertGreater(len(cells), 16)
        other = self.json("plot", *self.LAYER, "--lane", 1, "--out", out)
        self.assertNotEqual(other["matrix"], result["matrix"])

    def test_kernel_and_spectrum(self):
        out = self.path("a.svg")
        matrix = self.json("plot", *self.LAYER, "--out", out)["matrix"]
        kernel = self.json("plot", *self.LAYER, "--what", "kernel", "--out", out)["values"]
        self.assertEqual(kernel, matrix[::16])
        spectrum = self.json("plot", *self.LAYER, "--what", "spectrum", "--out", out)["values"]
        self.assertEqual(len(spectrum), 33)
        self.assertAlmostEqual(spectrum[0], 20 * math.log10(abs(sum(kernel))), places=9)
        self.assertAlmostEqual(spectrum[-1], 20 * math.log10(
            abs(sum(v * (-1) ** i for i, v in enumerate(kernel)))), places=9)
        with open(out, encoding="utf-8") as file:
            self.assertIn("per token", file.read())

    def test_block_of_a_model(self):
        out, text = self.path("a.svg"), self.write("text", test_cli.TEXT)
        plots = [self.json("plot", "--model", test_cli.MODEL, "--block", block, "--text", text, "-n", 12,
                           "--out", out)["matrix"] for block in (0, 5)]
        self.assertNotEqual(plots[0], plots[1])
        self.refused(test_cli.USAGE, "plot", "--model", test_cli.MODEL, "--block", 6, "--out", out,
                     says="has 6 blocks, no block 6")

    def test_png(self):
        out = self.path("a.png")
        done = test_cli.seqmix("plot", *self.LAYER, "--out", out)
        if b"without libpng" in done.stderr:
            self.skipTest("the program was built without libpng")
        for what in ("matrix", "kernel"):
            self.ok("plot", *self.LAYER, "--what", what, "--out", out)
            with open(out, "rb") as file:
                content = file.read()
            self.assertTrue(content.startswith(b"\x89PNG\r\n\x1a\n"))
            self.assertEqual(struct.unpack(">II", content[16:24]), (720, 560))

    def test_errors(self):
        out = self.path("a.svg")
        self.refused(test_cli.USAGE, "plot", *self.LAYER, "--out", self.path("a.gif"), says=".svg or .png")
        self.refused(test_cli.USAGE, "plot", "--mixer", "linear", "--set", "d_in=2", "--set", "d_out=2",
                     "--out", out, says="no mixing matrix")
        tokens = self.write("tokens", b"1 2 3")
        self.refused(test_cli.USAGE, "plot", *self.LAYER, "--tokens", tokens, "--out", out, says="series")
        self.refused(test_cli.USAGE, "plot", "--model", test_cli.MODEL, "--series", tokens, "--out", out,
                     says="tokens")
        self.refused(test_cli.USAGE, "plot", *self.LAYER, "--lane", 99, "--out", out, says="lanes")
        self.refused(test_cli.USAGE, "plot", *self.LAYER, "--what", "colours", "--out", out)


class Bench(test_cli.Case):
    def test_model(self):
        result = self.json("bench", "--model", test_cli.MODEL, "--lengths", "8,32", "--decode", 4,
                           "--repeats", 2, "--threads", 1)
        self.assertEqual([row["tokens"] for row in result["prefill"]], [8, 32])
        for row in [*result["prefill"], result["decode"]]:
            self.assertGreater(row["tokens_per_s"], 0)
        self.assertEqual(result["threads"], 1)
        self.assertTrue(result["isa"])
        self.assertEqual(result["decode"]["bytes_per_token"],
                         result["weight_bytes"] + 2 * result["state_bytes"])
        text = self.ok("bench", "--model", test_cli.MODEL, "--lengths", "8", "--decode", 4, "--repeats", 1)
        self.assertIn(b"tokens/s", text.stdout)

    def test_mixer(self):
        result = self.json("bench", "--mixer", "mamba", "--set", "d_model=64", "--batch", 2,
                           "--tokens", 16, "--repeats", 2)
        self.assertEqual((result["type"], result["batch"], result["tokens"]), ("mamba", 2, 16))
        self.assertEqual(result["attributes"]["d_model"], 64)
        self.assertGreater(result["seconds"], 0)
        self.assertGreater(result["step_seconds"], 0)
        self.assertGreater(result["weight_bytes"], 0)
        self.ok("bench", "--mixer", "mamba", "--set", "d_model=64", "--tokens", 8, "--repeats", 1)
        self.refused(test_cli.USAGE, "bench", "--mixer", "mamba", says="--set")

    def test_crossover(self):
        linear, mamba = ["a.d_in=32", "a.d_out=32"], ["b.d_model=32", "b.d_state=4"]
        settings = [word for setting in linear + mamba for word in ("--set", setting)]
        picture = self.path("curves.svg")
        result = self.json("bench", "--crossover", "linear", "mamba", *settings,
                           "--lengths", "8,16,64", "--repeats", 1, "--out", picture)
        self.assertEqual(result["types"], ["linear", "mamba"])
        for costs in (*result["seconds"], *result["bytes"]):
            self.assertEqual(len(costs), 3)
        # A linear map has neither state nor scratch: cheaper in memory at every length.
        self.assertIsNone(result["memory"]["measured"])
        with open(picture, encoding="utf-8") as file:
            self.assertIn(">mamba</text>", file.read())
        mambas = ["bench", "--crossover", "mamba", "mamba", "--set", "d_model=32",
                  "--set", "a.d_state=8", "--repeats", 1, "--lengths"]
        self.assertIn(b"efficiency length", self.ok(*mambas, "8,16,32").stdout)
        self.refused(test_cli.USAGE, *mambas, "8,16", says="3 lengths")
        self.refused(test_cli.USAGE, *mambas, "8,16,16", says="must rise")
        self.refused(test_cli.USAGE, "bench", "--crossover", "linear", "no_such_type", *settings,
                     says="no_such_type")

    def test_every_type(self):
        """Every type but the stack runs by its schema alone, given its required attributes."""
        for entry in self.json("types")["types"]:
            schema = self.json("types", entry["type"])
            if entry["type"] == "stack":
                continue
            settings = []
            for attribute in schema["attributes"]:
                if not attribute["required"]:
                    continue
                name = attribute["name"]
                if attribute["type"] == "str":  # the mixer to wrap; its attributes follow
                    settings += ["--set", f"{name}=mamba", "--set", f"{name}.d_model=32"]
                else:
                    settings += ["--set", f"{name}=32"]
            with self.subTest(type=entry["type"], settings=settings):
                result = self.json("bench", "--mixer", entry["type"], *settings, "--tokens", 8,
                                   "--repeats", 1)
                self.assertGreater(result["seconds"], 0)


if __name__ == "__main__":
    if len(sys.argv) > 2 and not sys.argv[1].startswith("-"):
        test_cli.PROGRAM, test_cli.MODEL = map(os.path.abspath, sys.argv[1:3])
        del sys.argv[1:3]
    if not test_cli.PROGRAM or not test_cli.MODEL:
        sys.exit(__doc__)
    unittest.main()
