#!/usr/bin/env python3
"""Tests of the program `seqmix`, from outside: command lines in, output and exit codes out.

    test_cli.py PROGRAM MODEL [unittest arguments]     (or SEQMIX_BIN and SEQMIX_MODEL)

MODEL is the folder of the shipped model (models/shakespeare). Standard library only.
"""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM = os.environ.get("SEQMIX_BIN", "")
MODEL = os.environ.get("SEQMIX_MODEL", "")
HERE = os.path.dirname(os.path.abspath(__file__))

# Computed in float64 by another implementation; see the model's README.
PROMPT = "ROMEO:\nWhat light"
GREEDY = "? what news? what news?\n\nCORIOLANUS:\nWhat is the common man?\n\nCORIOLANUS:\n"
TEXT = (b"rance ta'en\nAs shall with either part's agreement stand?\n\nBAPTISTA:\nNot in my house, "
        b"Lucentio; for, you know,\nPitchers have ears, and I have many servants:\nBesides, old Gremio "
        b"is hearkening still;\nAnd happily we might be interrupted.")
TEXT_NATS = 291.93945

OK, CHECK_FAILED, USAGE, CANNOT_READ, FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 130


def environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("SEQMIX_")}


def seqmix(*arguments, stdin=b""):
    return subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True,
                          env=environment(), timeout=600, check=False)


# ------------------------------------------------------------------ checkpoints made for a test

def read_checkpoint(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {name: (t["dtype"], t["shape"], data[t["data_offsets"][0]:t["data_offsets"][1]])
               for name, t in header.items()}
    return config, tensors


def write_checkpoint(folder, config, tensors):
    os.makedirs(folder)
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)


def embedding_name(tensors):
    return next(name for name in tensors if "embed" in name)


def write_broken_checkpoint(folder):
    """The shipped model with NaN in its third block."""
    config, tensors = read_checkpoint(MODEL)
    name = next(name for name in tensors if ".layers.2." in name and name.endswith(".D"))
    dtype, shape, content = tensors[name]
    tensors[name] = (dtype, shape, struct.pack("<f", float("nan")) + content[4:])
    write_checkpoint(folder, config, tensors)
    return folder


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="seqmix_cli_")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def ok(self, *arguments, stdin=b"", code=OK):
        done = seqmix(*arguments, stdin=stdin)
        self.assertEqual(done.returncode, code, done.stderr.decode(errors="replace"))
        return done

    def json(self, *arguments, code=OK, stdin=b""):
        done = self.ok(*arguments, "--json", code=code, stdin=stdin)
        self.assertEqual(done.stderr, b"")
        self.assertEqual(done.stdout.count(b"\n"), 1)
        return json.loads(done.stdout)

    def refused(self, code, *arguments, stdin=b"", says=""):
        """The command fails with that code and exactly one line on stderr."""
        done = seqmix(*arguments, stdin=stdin)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        message = done.stderr.decode()
        self.assertTrue(message.startswith("seqmix: "), message)
        self.assertTrue(message.endswith("\n"), message)
        self.assertEqual(message.count("\n"), 1, message)
        self.assertIn(says, message)
        return message

    def run_model(self, *arguments):
        return self.json("run", "--model", MODEL, "--threads", 1, *arguments)


# ------------------------------------------------------------------ the command line

class CommandLine(Case):
    COMMANDS = [["inspect"], ["convert"], ["run"], ["score"], ["embed"], ["selftest"], ["bench"], ["types"],
                ["stream"], ["classify"], ["plot"], ["state"], ["state", "show"], ["state", "diff"]]

    def test_help_has_examples(self):
        for command in [[], *self.COMMANDS]:
            with self.subTest(command=command):
                text = self.ok(*command, "--help").stdout.decode()
                self.assertIn("Usage: seqmix", text)
                if command != ["state"]:
                    self.assertIn("\nExamples:\n  seqmix", text)

    def test_help_lines_fit(self):
        for command in [[], *self.COMMANDS]:
            for line in self.ok(*command, "--help").stdout.decode().splitlines():
                self.assertLessEqual(len(line), 120, line)

    def test_version(self):
        self.assertRegex(self.ok("--version").stdout.decode(), r"^seqmix \d+\.\d+\.\d+\n$")

    def test_usage_errors(self):
        for arguments in ([], ["nonsense"], ["run"], ["run", "--bogus"], ["state"],
                          ["run", "--model", MODEL, "--threads", "many"],
                          ["run", "--model", MODEL, "--threads", "-1"],
                          ["run", "--model", MODEL, "--top-p", "2"],
                          ["run", "--model", MODEL, "--isa", "mmx"],
                          ["run", "--model", MODEL],
                          ["run", "--model", MODEL, "--prompt", "a", "--prompt-file", "b"],
                          ["score", "--model", MODEL],
                          ["score", "--model", MODEL, "--text", "a", "--tokens", "b"],
                          ["embed", "--model", MODEL, "--text", "a"],
                          ["convert", MODEL], ["convert", MODEL, "out"],
                          ["convert", MODEL, "out", "--weights", "int4"],
                          ["convert", MODEL, MODEL, "--weights", "int8"],
                          ["bench"], ["bench", "--mixer", "no_such_type"],
                          ["bench", "--mixer", "mamba", "--set", "no_such_key=1"],
                          ["bench", "--mixer", "mamba", "--set", "nothing"],
                          ["types", "no_such_type"]):
            with self.subTest(arguments=arguments):
                self.refused(USAGE, *arguments)

    def test_unreadable(self):
        missing = self.path("missing")
        broken = self.write("broken.safetensors", b"\xff" * 100)
        for arguments in (["inspect", missing], ["run", "--model", missing, "--prompt", "a"],
                          ["inspect", broken],
                          ["score", "--model", MODEL, "--text", missing],
                          ["score", "--model", MODEL, "--tokens", missing],
                          ["run", "--model", MODEL, "--prompt-file", missing],
                          ["run", "--model", MODEL, "--prompt", "a", "--load-state", missing],
                          ["run", "--model", MODEL, "--prompt", "a", "-n", 1, "--json",
                           "--save-state", self.path("no/such/folder")],
                          ["embed", "--model", MODEL, "--text", __file__,
                           "--out", self.path("no/such/folder")],
                          ["state", "show", missing]):
            with self.subTest(arguments=arguments):
                self.refused(CANNOT_READ, *arguments)

    def test_manual_is_current(self):
        root = os.path.dirname(os.path.dirname(HERE))
        done = subprocess.run([sys.executable, os.path.join(root, "cli", "make_man.py"), PROGRAM,
                               os.path.join(root, "docs", "man", "seqmix.1"), "--check"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


# ------------------------------------------------------------------ inspect, types

class Inspect(Case):
    def test_json(self):
        info = self.json("inspect", MODEL)
        self.assertEqual(info["type"], "stack")
        self.assertEqual(info["format"], "safetensors")
        self.assertEqual(info["vocab_size"], 256)
        self.assertEqual(info["d_model"], 128)
        self.assertEqual(info["parameters"], 732544)
        self.assertEqual(info["missing"], [])
        self.assertEqual(info["unexpected"], [])
        roles = [child["role"] for child in info["children"]]
        self.assertEqual(roles, ["embedding"] + ["block"] * 6 + ["norm", "head"])
        self.assertGreaterEqual(info["bytes"]["state"], 116736)

    def test_text(self):
        text = self.ok("inspect", MODEL).stdout.decode()
        for word in ("safetensors", "732,544", "embedding", "block", "mamba"):
            self.assertIn(word, text)

    def test_tensors(self):
        info = self.json("inspect", MODEL, "--tensors")
        slots = info["children"][1]["slots"]
        weights = [slot for slot in slots if slot["role"] == "weight"]
        self.assertTrue(weights)
        self.assertIn([256, 16], [slot["shape"] for slot in slots])
        self.assertIn("weight", self.ok("inspect", MODEL, "--tensors").stdout.decode())

    def test_incomplete(self):
        config, tensors = read_checkpoint(MODEL)
        gone = next(name for name in tensors if name.endswith("A_log"))
        del tensors[gone]
        tensors["stranger"] = ("F32", [1], b"\0\0\0\0")
        write_checkpoint(self.path("incomplete"), config, tensors)
        info = self.json("inspect", self.path("incomplete"))
        self.assertEqual(len(info["missing"]), 1)
        self.assertIn("A_log", json.dumps(info["missing"]))
        self.assertEqual(info["unexpected"], ["stranger"])
        self.refused(CANNOT_READ, "run", "--model", self.path("incomplete"), "--prompt", "a")


    def test_names_cannot_steer_the_terminal(self):
        config, tensors = read_checkpoint(MODEL)
        name = "a\nb\x1b[31mc\u202e\x85\0d"
        tensors[name] = ("F32", [1], b"\0\0\0\0")
        write_checkpoint(self.path("strange"), config, tensors)
        text = self.ok("inspect", self.path("strange")).stdout.decode()
        self.assertIn("    a\\x0ab\\x1b[31mc\\u202e\\u0085\\x00d\n", text)
        self.assertEqual(self.json("inspect", self.path("strange"))["unexpected"], [name])
        message = self.refused(CANNOT_READ, "run", "--model", self.path("strange"), "--prompt", "a")
        self.assertTrue(message[:-1].isprintable(), message)
        message = self.refused(CANNOT_READ, "inspect", os.fsdecode(b"no\x1b[31m\xffsuch"))
        self.assertTrue(message[:-1].isprintable(), message)


class Convert(Case):
    def test_sizes_and_numbers(self):
        text = self.write("text", b"ROMEO: But, soft! what light through yonder window breaks?")
        original = os.path.getsize(os.path.join(MODEL, "model.safetensors"))
        for weights, most in (("bf16", 0.53), ("int8", 0.30), ("stored", 1.001)):
            out = self.path(weights)
            made = self.json("convert", MODEL, out, "--weights", weights)
            self.assertEqual(made["weights"], weights)
            self.assertIn("config.json", made["carried"])
            self.assertLess(made["bytes"], most * original)
            nats = [self.json("score", "--threads", 1, "--text", text, "--model", *more)["token_nats"]
                    for more in ([MODEL, "--weights", weights], [out])]
            self.assertEqual(*nats)
        done = self.ok("convert", MODEL, self.path("again"), "--weights", "int8")
        self.assertIn(b"model.safetensors  8", done.stdout)
        tokens = self.json("run", "--model", self.path("again"), "--prompt", "ROMEO:", "-n", 20)["tokens"]
        self.assertEqual(len(tokens), 20)

    def test_tokenizers_go_along(self):
        config, tensors = read_checkpoint(MODEL)
        write_checkpoint(self.path("from"), config, tensors)
        for name in ("tokenizer.json", "merges.txt", "tokenizer.model", "model.safetensors.index.json", "note.bin"):
            self.write(os.path.join("from", name), b"{}")
        made = self.json("convert", self.path("from"), self.path("to"), "--weights", "bf16")
        self.assertEqual(made["carried"], ["config.json", "merges.txt", "tokenizer.json", "tokenizer.model"])

    def test_refused(self):
        config, tensors = read_checkpoint(MODEL)
        del tensors[next(name for name in tensors if name.endswith("A_log"))]
        write_checkpoint(self.path("incomplete"), config, tensors)
        self.refused(CANNOT_READ, "convert", self.path("incomplete"), self.path("out"), "--weights", "int8", says="A_log")
        self.assertFalse(os.path.exists(self.path("out")))
        self.refused(CANNOT_READ, "convert", MODEL, self.write("file", b""), "--weights", "int8", says="cannot make")


class Types(Case):
    def test_list(self):
        types = self.json("types")["types"]
        names = [entry["type"] for entry in types]
        self.assertIn("mamba", names)
        self.assertIn("stack", names)
        for entry in types:
            self.assertTrue(entry["doc"], entry)
        lines = self.ok("types").stdout.decode().splitlines()
        self.assertEqual([line.split()[0] for line in lines], names)

    def test_schemas(self):
        for entry in self.json("types")["types"]:
            schema = self.json("types", entry["type"])
            self.assertEqual(schema, json.loads(self.ok("types", entry["type"]).stdout))


# ------------------------------------------------------------------ run

class Run(Case):
    def test_greedy(self):
        result = self.run_model("--prompt", PROMPT, "-n", len(GREEDY))
        self.assertEqual(result["text"], GREEDY)
        self.assertEqual(result["tokens"], list(GREEDY.encode()))
        self.assertEqual(set(result), {"tokens", "text", "prefill_tokens_per_s",
                                       "decode_tokens_per_s", "state_bytes", "position"})
        self.assertGreater(result["prefill_tokens_per_s"], 0)
        self.assertGreater(result["decode_tokens_per_s"], 0)
        self.assertEqual(result["position"], len(PROMPT) + len(GREEDY) - 1)

    def test_text_is_streamed(self):
        done = self.ok("run", "--model", MODEL, "--prompt", PROMPT, "-n", len(GREEDY))
        self.assertEqual(done.stdout, GREEDY.encode())
        message = done.stderr.decode()
        self.assertEqual(message.count("\n"), 1)
        self.assertRegex(message, r"prefill .* tokens/s, decode .* tokens/s, state ")
        done = self.ok("run", "--model", MODEL, "--prompt", PROMPT, "-n", 5, "--echo")
        self.assertEqual(done.stdout, (PROMPT + GREEDY[:5]).encode())

    def test_tokenizer(self):
        """A tokenizer.json of single bytes: the ids of the model's own bytes."""
        vocab, following = {}, 256
        for byte in range(256):
            if 33 <= byte <= 126 or 161 <= byte <= 255 and byte != 173:
                vocab[chr(byte)] = byte
            else:
                vocab[chr(following)] = byte
                following += 1
        content = {"model": {"type": "BPE", "vocab": vocab, "merges": []},
                   "pre_tokenizer": {"type": "ByteLevel"}}
        file = self.write("tokenizer.json", json.dumps(content).encode())
        tokenizer = ("--tokenizer", file, "--prompt", PROMPT, "-n", len(GREEDY))
        if b"without utf8proc" in seqmix("run", "--model", MODEL, *tokenizer).stderr:
            return
        result = self.run_model(*tokenizer)
        self.assertEqual((result["text"], result["tokens"]), (GREEDY, list(GREEDY.encode())))
        # Beside the weights it is found without being named.
        folder = os.path.join(self.folder, "model")
        shutil.copytree(MODEL, folder)
        shutil.copy(file, folder)
        done = self.ok("run", "--model", folder, "--prompt", PROMPT, "-n", 5, "--echo")
        self.assertEqual(done.stdout, (PROMPT + GREEDY[:5]).encode())
        score = self.json("score", "--model", folder, "--text", self.write("t", PROMPT.encode()))
        self.assertEqual(score["tokens"], len(PROMPT) - 1)
        # Ids that the model does not have.
        content["added_tokens"] = [{"id": 256, "content": "<|endoftext|>", "special": True}]
        file = self.write("larger.json", json.dumps(content).encode())
        self.refused(CANNOT_READ, "run", "--model", MODEL, "--tokenizer", file, "--prompt", "a",
                     says="256")
        self.refused(CANNOT_READ, "run", "--model", MODEL, "--tokenizer",
                     self.write("x.json", b"{}"), "--prompt", "a", says="tokenizer.json")

    def test_default_length(self):
        self.assertEqual(len(self.run_model("--prompt", "a")["tokens"]), 200)

    def test_ways_to_prompt(self):
        wanted = self.run_model("--prompt", PROMPT, "-n", 8)["tokens"]
        file = self.write("prompt.txt", PROMPT.encode())
        self.assertEqual(self.run_model("--prompt-file", file, "-n", 8)["tokens"], wanted)
        for name, text in (("spaces", " ".join(map(str, PROMPT.encode()))),
                           ("commas", ",\n".join(map(str, PROMPT.encode())) + "\n"),
                           ("json", json.dumps(list(PROMPT.encode())))):
            file = self.write(name, text.encode())
            self.assertEqual(self.run_model("--tokens", file, "-n", 8)["tokens"], wanted, name)
        done = seqmix("run", "--model", MODEL, "--prompt-file", "-", "-n", 8, "--json",
                      stdin=PROMPT.encode())
        self.assertEqual(json.loads(done.stdout)["tokens"], wanted)

    def test_bad_tokens(self):
        for name, text in (("word", "1 2 three"), ("large", "1 256"), ("negative", "-1"),
                           ("object", '[1, {"a": 2}]'), ("open", "[1, 2"), ("real", "1.5")):
            file = self.write(name, text.encode())
            self.refused(CANNOT_READ, "run", "--model", MODEL, "--tokens", file, says=name)

    def test_empty_prompt(self):
        self.refused(USAGE, "run", "--model", MODEL, "--prompt", "")
        self.refused(USAGE, "run", "--model", MODEL, "--tokens", self.write("none", b" \n"))

    def test_nothing_to_generate(self):
        result = self.run_model("--prompt", PROMPT, "-n", 0)
        self.assertEqual(result["tokens"], [])
        self.assertIsNone(result["decode_tokens_per_s"])

    def test_sampling(self):
        def sample(*more):
            return self.run_model("--prompt", PROMPT, "-n", 60, *more)["tokens"]
        first = sample("--temperature", 1, "--seed", 1)
        self.assertEqual(sample("--temperature", 1, "--seed", 1), first)
        self.assertNotEqual(sample("--temperature", 1, "--seed", 2), first)
        self.assertEqual(sample("--temperature", 1, "--seed", 0), sample("--temperature", 1))
        greedy = list(GREEDY.encode())[:60]
        self.assertEqual(sample("--temperature", 1, "--top-k", 1), greedy)
        self.assertEqual(sample("--temperature", 1, "--top-p", 0), greedy)
        self.assertEqual(sample("--temperature", 1e-3), greedy)
        self.assertNotEqual(sample("--temperature", 1, "--seed", 1, "--top-k", 3), first)

    def test_threads_and_isa(self):
        wanted = self.run_model("--prompt", PROMPT, "-n", 30)["tokens"]
        for more in (["--threads", 2], ["--isa", "generic"], ["--isa", "reference"]):
            result = self.json("run", "--model", MODEL, "--prompt", PROMPT, "-n", 30, *more)
            self.assertEqual(result["tokens"], wanted, more)

    def test_invalid_utf8(self):
        # A hot temperature gives bytes that are no UTF-8; the JSON must still be valid.
        result = self.run_model("--prompt", PROMPT, "-n", 200, "--temperature", 50)
        self.assertIn("\ufffd", result["text"])
        self.assertEqual(len(result["tokens"]), 200)

    def test_other_vocabulary(self):
        config, tensors = read_checkpoint(MODEL)
        config["vocab_size"] = 300
        name = embedding_name(tensors)
        dtype, shape, content = tensors[name]
        tensors[name] = (dtype, [300, shape[1]], content + bytes(4 * shape[1] * 44))
        model = self.path("wide")
        write_checkpoint(model, config, tensors)
        ids = self.write("ids", " ".join(map(str, PROMPT.encode())).encode())
        done = self.ok("run", "--model", model, "--tokens", ids, "-n", 20)
        self.assertEqual([int(i) for i in done.stdout.split()], list(GREEDY.encode()[:20]))
        self.assertEqual(done.stderr.count(b"printing token ids"), 1)
        result = self.json("run", "--model", model, "--tokens", ids, "-n", 20)
        self.assertIsNone(result["text"])
        self.refused(USAGE, "run", "--model", model, "--prompt", "a", "--json")
        self.refused(USAGE, "score", "--model", model, "--text", ids)
        score = self.json("score", "--model", model, "--tokens", ids)
        self.assertIsNone(score["bits_per_byte"])

    def test_interrupt(self):
        state = self.path("kept.state")
        process = subprocess.Popen([PROGRAM, "run", "--model", MODEL, "--prompt", PROMPT, "-n",
                                    "100000000", "--save-state", state], env=environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        start = process.stdout.read(20)  # it is generating
        process.send_signal(signal.SIGINT)
        rest, message = process.communicate(timeout=60)
        self.assertEqual(process.returncode, INTERRUPTED)
        self.assertEqual(message, b"seqmix: interrupted\n")
        text = start + rest
        go_on = self.run_model("--load-state", state, "-n", 40)["tokens"]
        long_run = self.run_model("--prompt", PROMPT, "-n", len(text) + 40)["tokens"]
        self.assertEqual(list(text) + go_on, long_run)

    def test_interrupted_prefill(self):
        file = self.write("long.txt", TEXT * 200000)
        state = self.write("old.state", b"old")
        process = subprocess.Popen([PROGRAM, "run", "--model", MODEL, "--prompt-file", file,
                                    "--save-state", state, "--threads", "1"], env=environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
        self.assertEqual(process.returncode, INTERRUPTED)
        self.assertEqual(message, b"seqmix: interrupted\n")
        with open(state, "rb") as kept:
            self.assertEqual(kept.read(), b"old")


# ------------------------------------------------------------------ states as files

class States(Case):
    def save(self, name, *arguments):
        self.run_model(*arguments, "--save-state", self.path(name))
        return self.path(name)

    def other_model(self):
        config, tensors = read_checkpoint(MODEL)
        name = embedding_name(tensors)
        dtype, shape, content = tensors[name]
        values = struct.unpack(f"<{len(content) // 4}f", content)
        tensors[name] = (dtype, shape, struct.pack(f"<{len(values)}f", *(1.01 * v for v in values)))
        write_checkpoint(self.path("other"), config, tensors)
        return self.path("other")

    def test_continuation_is_exact(self):
        whole = self.run_model("--prompt", PROMPT, "-n", 120)["tokens"]
        for cuts in ([60, 60], [1, 119], [0, 120], [40, 0, 1, 79]):
            state = self.path("cut.state")
            tokens = self.run_model("--prompt", PROMPT, "-n", cuts[0], "--save-state",
                                    state)["tokens"]
            for count in cuts[1:]:
                tokens += self.run_model("--load-state", state, "-n", count, "--save-state",
                                         state)["tokens"]
            self.assertEqual(tokens, whole, cuts)

    def test_sampled_continuation_is_exact(self):
        hot = ["--temperature", 1, "--top-k", 40]
        whole = self.run_model("--prompt", PROMPT, "-n", 100, "--seed", 5, *hot)["tokens"]
        state = self.path("hot.state")
        first = self.run_model("--prompt", PROMPT, "-n", 50, "--seed", 5, *hot, "--save-state", state)
        second = self.run_model("--load-state", state, "-n", 50, *hot)
        self.assertEqual(first["tokens"] + second["tokens"], whole)
        other = self.run_model("--load-state", state, "-n", 50, "--seed", 6, *hot)
        self.assertNotEqual(other["tokens"], second["tokens"])

    def test_prompt_after_a_session(self):
        state = self.save("s", "--prompt", PROMPT, "-n", 10)
        once = self.run_model("--prompt", PROMPT + GREEDY[:10] + "\nJULIET:", "-n", 20)
        cut = self.run_model("--load-state", state, "--prompt", "\nJULIET:", "-n", 20)
        self.assertEqual(cut["position"], once["position"])
        self.assertEqual(cut["tokens"], once["tokens"])

    def test_bare_blob(self):
        state = self.save("s", "--prompt", PROMPT, "-n", 10)
        with open(state, "rb") as file:
            content = file.read()
        self.assertEqual(content[:8], b"SMXSESS1")
        pending, = struct.unpack_from("<I", content, 12)
        self.assertEqual(pending, 1)
        self.assertEqual(struct.unpack_from("<q", content, 48)[0], GREEDY.encode()[9])
        bare = self.write("bare", content[48 + 8 * pending + 8:])
        wanted = self.run_model("--load-state", state, "-n", 20)["tokens"]
        got = self.run_model("--load-state", bare, "--prompt", GREEDY[9], "-n", 20)["tokens"]
        self.assertEqual(got, wanted)
        self.refused(USAGE, "run", "--model", MODEL, "--load-state", bare)
        self.json("state", "diff", state, bare, "--model", MODEL)

    def test_torn_files(self):
        state = self.save("s", "--prompt", PROMPT, "-n", 10)
        with open(state, "rb") as file:
            content = file.read()
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        pending = bytearray(content)
        pending[48] ^= 1
        for name, torn in (("empty", b""), ("magic", content[:8]), ("header", content[:50]),
                           ("half", content[:len(content) // 2]), ("last", content[:-1]),
                           ("longer", content + b"\0"), ("flipped", bytes(flipped)),
                           ("pending", bytes(pending)), ("noise", os.urandom(1000))):
            with self.subTest(torn=name):
                file = self.write(name, torn)
                for command in (["run", "--load-state", file, "--prompt", "a", "--save-state", file],
                                ["state", "show", file], ["state", "diff", state, file]):
                    self.refused(CANNOT_READ, *command, "--model", MODEL, says=name)
                self.refused(CANNOT_READ, "state", "show", file, says=name)
                with open(file, "rb") as kept:
                    self.assertEqual(kept.read(), torn)

    def test_blobs_with_a_right_checksum(self):
        state = self.save("s", "--prompt", PROMPT, "-n", 10)
        with open(state, "rb") as file:
            blob = bytearray(file.read()[48 + 8 + 8:])
        first = 56 + struct.unpack_from("<I", blob, 12)[0] + 4  # the first layer's position
        for name, at, kind, value in (("layers", 48, "<I", 2**32 - 1), ("apart", first, "<q", 1),
                                      ("beyond", first, "<q", 2**63 - 1)):
            with self.subTest(name):
                changed = bytearray(blob)
                struct.pack_into(kind, changed, at, value)
                struct.pack_into("<I", changed, len(changed) - 4, zlib.crc32(changed[:-4]))
                file = self.write(name, changed)
                message = self.refused(CANNOT_READ, "run", "--model", MODEL, "--load-state", file,
                                       "--prompt", "a", says=file)
                self.assertNotIn("more than one row", message)
                self.refused(CANNOT_READ, "state", "diff", state, file, "--model", MODEL, says=file)

    def test_only_regular_files(self):
        """A pipe without a writer would be waited for; what the shell has opened is no such thing."""
        pipe = self.path("pipe")
        os.mkfifo(pipe)
        for file in (pipe, self.folder, "/dev/zero"):
            self.refused(CANNOT_READ, "state", "show", file, says=file)
            self.refused(CANNOT_READ, "run", "--model", MODEL, "--load-state", file, says=file)
        state = self.save("s", "--prompt", PROMPT, "-n", 10)
        wanted = self.json("state", "show", state)["blob"]
        with open(state, "rb") as file:
            content = file.read()
        for name in ("-", "/dev/stdin"):
            self.assertEqual(self.json("state", "show", name, stdin=content)["blob"], wanted)

    def test_endless_device(self):
        if os.path.exists("/dev/zero"):
            self.refused(CANNOT_READ, "score", "--model", MODEL, "--text", "/dev/zero", says="device")

    def test_failed_save_keeps_the_old_file(self):
        state = self.save("s", "--prompt", PROMPT, "-n", 10)
        with open(state, "rb") as file:
            content = file.read()
        # A file size limit makes the write fail halfway (or the signal for it kills the program).
        limited = f"ulimit -f 8; exec '{PROGRAM}' run --model '{MODEL}' --prompt a -n 3 " \
                  f"--save-state '{state}'"
        done = subprocess.run(["bash", "-c", "trap '' XFSZ; " + limited], capture_output=True,
                              env=environment(), check=False)
        self.assertEqual(done.returncode, CANNOT_READ, done.stderr)
        self.assertEqual(done.stderr.count(b"seqmix: "), 1)
        with open(state, "rb") as file:
            self.assertEqual(file.read(), content)
        self.assertEqual(os.listdir(self.folder), ["s"])

    def test_saving_leaves_nothing_else(self):
        self.save("s", "--prompt", PROMPT, "-n", 1)
        state = self.save("s", "--prompt", PROMPT, "-n", 2)
        self.assertEqual(os.listdir(self.folder), ["s"])
        mask = os.umask(0)
        os.umask(mask)
        self.assertEqual(os.stat(state).st_mode & 0o777, 0o666 & ~mask)

    def test_other_weights(self):
        state = self.save("s", "--prompt", PROMPT, "-n", 10)
        other = self.other_model()
        self.refused(CANNOT_READ, "run", "--model", other, "--load-state", state, says="weights")
        self.json("run", "--model", other, "--load-state", state, "-n", 5, "--accept-other-weights")

    def test_show(self):
        state = self.save("s", "--prompt", PROMPT, "-n", 10)
        shown = self.json("state", "show", state)
        self.assertTrue(shown["session"])
        self.assertEqual(shown["pending"], [GREEDY.encode()[9]])
        self.assertEqual(shown["blob"]["type"], "stack")
        self.assertEqual(shown["blob"]["rows"], 1)
        leaves = [leaf for leaf in shown["blob"]["leaves"] if leaf["tensors"]]
        self.assertEqual(len(leaves), 6)
        self.assertEqual(leaves[0]["positions"], [len(PROMPT) + 9])
        self.assertIn([256, 16], [tensor["shape"] for tensor in leaves[0]["tensors"]])
        self.assertIn("(256,16)", self.ok("state", "show", state).stdout.decode())
        shown = self.json("state", "show", state, "--model", MODEL)
        self.assertEqual(shown["positions"], [len(PROMPT) + 9])
        self.assertEqual(len(shown["tensors"]), 12)
        self.assertIn([256, 16], [tensor["shape"] for tensor in shown["tensors"]])
        self.assertIn("max abs", self.ok("state", "show", state, "--model", MODEL).stdout.decode())

    def test_diff(self):
        a = self.save("a", "--prompt", PROMPT, "-n", 10)
        b = self.save("b", "--prompt", PROMPT, "-n", 10)
        c = self.save("c", "--prompt", PROMPT, "-n", 11)
        same = self.json("state", "diff", a, b, "--model", MODEL)
        self.assertFalse(same["differ"])
        self.assertEqual(max(t["max_abs_difference"] for t in same["tensors"]), 0)
        other = self.json("state", "diff", a, c, "--model", MODEL, code=CHECK_FAILED)
        self.assertTrue(other["differ"])
        self.assertEqual(other["positions"], [[len(PROMPT) + 9], [len(PROMPT) + 10]])
        self.assertGreater(max(t["max_abs_difference"] for t in other["tensors"]), 0)
        self.ok("state", "diff", a, c, "--model", MODEL, code=CHECK_FAILED)


# ------------------------------------------------------------------ score, embed

class Score(Case):
    def test_against_known_values(self):
        text = self.write("text", TEXT)
        result = self.json("score", "--model", MODEL, "--text", text)
        self.assertEqual(result["tokens"], len(TEXT) - 1)
        self.assertAlmostEqual(result["nats"], TEXT_NATS, delta=1e-2)
        self.assertEqual(len(result["token_nats"]), len(TEXT) - 1)
        self.assertAlmostEqual(sum(result["token_nats"]), result["nats"], places=8)
        bits = result["nats"] / 0.6931471805599453 / (len(TEXT) - 1)
        self.assertAlmostEqual(result["bits_per_token"], bits, places=9)
        self.assertAlmostEqual(result["bits_per_byte"], bits, places=9)

    def test_chunks_do_not_matter(self):
        text = self.write("text", TEXT * 5)
        whole = self.json("score", "--model", MODEL, "--text", text, "--chunk", 100000)
        for chunk in (1, 7, 64, 512):
            cut = self.json("score", "--model", MODEL, "--text", text, "--chunk", chunk)
            self.assertEqual(cut["tokens"], whole["tokens"])
            for a, b in zip(cut["token_nats"], whole["token_nats"]):
                self.assertAlmostEqual(a, b, delta=1e-3)
            self.assertAlmostEqual(cut["bits_per_byte"], whole["bits_per_byte"], places=4)

    def test_text_and_tokens(self):
        text = self.json("score", "--model", MODEL, "--text", "-", stdin=TEXT)
        ids = self.write("ids", json.dumps(list(TEXT)).encode())
        self.assertEqual(self.json("score", "--model", MODEL, "--tokens", ids)["nats"], text["nats"])

    def test_plain(self):
        text = self.write("text", TEXT)
        lines = self.ok("score", "--model", MODEL, "--text", text,
                        "--per-token").stdout.decode().splitlines()
        self.assertEqual(len(lines), len(TEXT) - 1 + 4)
        self.assertEqual([int(v) for v in lines[0].split()[:2]], [1, TEXT[1]])
        self.assertIn("bits per byte", lines[-1])

    def test_not_finite(self):
        model, text = write_broken_checkpoint(self.path("broken")), self.write("text", TEXT)
        for more in ([], ["--json"], ["--chunk", 10]):
            self.refused(FAILED, "score", "--model", model, "--text", text, *more, says="not finite")

    def test_too_short(self):
        self.refused(USAGE, "score", "--model", MODEL, "--text", self.write("one", b"a"))


class Embed(Case):
    def read_npy(self, path):
        with open(path, "rb") as file:
            content = file.read()
        self.assertEqual(content[:8], b"\x93NUMPY\x01\x00")
        size, = struct.unpack_from("<H", content, 8)
        self.assertEqual((10 + size) % 64, 0)
        header = content[10:10 + size].decode()
        self.assertTrue(header.endswith("\n"))
        fields = eval(header, {"__builtins__": {}})  # pylint: disable=eval-used
        values = struct.unpack(f"<{(len(content) - 10 - size) // 4}f", content[10 + size:])
        return fields, values

    def test_npy(self):
        text = self.write("text", TEXT)
        out = self.path("hidden.npy")
        result = self.json("embed", "--model", MODEL, "--text", text, "--out", out)
        self.assertEqual(result, {"out": out, "shape": [len(TEXT), 128], "dtype": "<f4"})
        fields, values = self.read_npy(out)
        self.assertEqual(fields, {"descr": "<f4", "fortran_order": False,
                                  "shape": (len(TEXT), 128)})
        self.assertEqual(len(values), len(TEXT) * 128)
        self.assertGreater(max(values), 0)
        done = self.ok("embed", "--model", MODEL, "--text", text, "--out", self.path("cut.npy"),
                       "--chunk", 10)
        self.assertEqual((done.stdout, done.stderr), (b"", b""))
        largest = max(map(abs, values))
        for a, b in zip(values, self.read_npy(self.path("cut.npy"))[1]):
            self.assertAlmostEqual(a, b, delta=1e-4 * largest)


# ------------------------------------------------------------------ selftest

class Selftest(Case):
    def test_passes(self):
        result = self.json("selftest", "--model", MODEL)
        self.assertTrue(result["passed"])
        self.assertEqual(result["tokens"], 96)
        self.assertEqual(len(result["layers"]), 9)
        self.assertTrue(result["stack_equals_children"])
        self.assertTrue(result["saved_equals_kept"])
        for layer in [*result["layers"], result["model"]]:
            for mode in ("parallel", "chunks", "steps"):
                self.assertLess(layer[mode]["rel"], 1e-4, layer)
            if layer["role"] == "block":
                self.assertLess(layer["state"]["rel"], 1e-4, layer)
            else:
                self.assertIsNone(layer["state"])
        self.assertGreater(result["worst"], 0)

    def test_text(self):
        text = self.ok("selftest", "--model", MODEL, "--isa", "generic").stdout.decode()
        self.assertIn("passed", text)
        self.assertIn("level generic", text)

    def test_reference_against_itself(self):
        result = self.json("selftest", "--model", MODEL, "--isa", "reference", "--length", 10)
        self.assertTrue(result["passed"])
        self.assertIsNone(result["stack_equals_children"])
        self.assertIsNone(result["saved_equals_kept"])

    def test_fails_beyond_tolerance(self):
        result = self.json("selftest", "--model", MODEL, "--length", 20, "--tolerance", 1e-12,
                           code=CHECK_FAILED)
        self.assertFalse(result["passed"])
        self.assertEqual(result["tokens"], 20)
        self.ok("selftest", "--model", MODEL, "--length", 20, "--tolerance", 1e-12,
                code=CHECK_FAILED)

    def test_not_finite(self):
        model = write_broken_checkpoint(self.path("broken"))
        for more in ([], ["--json"]):
            done = seqmix("selftest", "--model", model, "--length", 10, *more)
            self.assertEqual(done.returncode, CHECK_FAILED)
            self.assertEqual(done.stderr, b"seqmix: layer 3 (block) gives numbers that are not "
                                          b"finite, in double precision too\n")
            self.assertTrue(done.stdout)

    def test_input(self):
        text = self.write("text", TEXT)
        result = self.json("selftest", "--model", MODEL, "--text", text)
        self.assertEqual(result["tokens"], len(TEXT))
        self.assertTrue(result["passed"])
        result = self.json("selftest", "--model", MODEL, "--text", text, "--length", 30)
        self.assertEqual(result["tokens"], 30)


if __name__ == "__main__":
    if len(sys.argv) > 2 and not sys.argv[1].startswith("-"):
        PROGRAM, MODEL = sys.argv[1:3]
        del sys.argv[1:3]
    if not PROGRAM or not MODEL:
        sys.exit(__doc__)
    PROGRAM, MODEL = os.path.abspath(PROGRAM), os.path.abspath(MODEL)
    unittest.main()
