"""Tests what tools/bench makes of figures: rounds, bars, exit status, document. Nothing is measured.

usage: python3 tests/tools/test_bench.py
"""
import contextlib
import io
import json
import os
import struct
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.dont_write_bytecode = True

import model_130m  # noqa: E402
from report import bars, document, measure, parts, roofline, samples  # noqa: E402


def result(compiler, threads, rows, machine="wide", valid="yes"):
    """What a bench program prints: rows are (name, us, limit us, plain us)."""
    return {"context": {"compiler": compiler, "threads": str(threads), "machine": machine,
                        "limits_valid": valid, "limits_note": "2.00 at 256 bits",
                        "fma_avx512": "230 GFLOP/s per thread",
                        "fma_avx2": "115 GFLOP/s per thread", "memory_read": "30 GB/s",
                        "memory_copy": "40 GB/s"},
            "benchmarks": [{"name": name + "/manual_time", "best_us": us, "limit_us": limit,
                            "plain_us": plain, "flop/s": 1e9, "bytes/s": 1e9, "tokens/s": 1e6 / us}
                           for name, us, limit, plain in rows]}


def figures_of(*results, peers=()):
    figures = measure.Figures()
    figures.rounds = 1
    for each in results:
        figures.add(each)
    for peer, model, found in peers:
        figures.add_peer(peer, model, "", found)
    figures.finish(measure.ForeignUse())
    return figures


def state(check, what, threads=1):
    return [bar.state for bar in check.bars if bar.what == what and bar.threads == threads]


class Rounds(unittest.TestCase):
    def test_the_best_of_each_side_counts(self):
        figures = figures_of(result("clang 19.1.7", 1, [(bars.CORE, 20, 10, 500)]),
                             result("clang 19.1.7", 1, [(bars.CORE, 16, 12, 800)]))
        row = figures.row("clang 19", 1, bars.CORE)
        self.assertEqual((row["time_us"], row["limit_us"], row["plain_us"]), (16, 10, 500))
        self.assertAlmostEqual(row["of_limit"], 10 / 16)
        self.assertAlmostEqual(row["vs_plain"], 500 / 16)

    def test_valid_once_is_valid(self):
        figures = figures_of(result("clang 19", 1, [], valid="no"), result("clang 19", 1, []))
        self.assertTrue(figures.valid("clang 19", 1))

    def test_kept_figures_give_the_same_bars(self):
        figures = figures_of(result("clang 19", 1, [(bars.FUSED, 10, 6, 400)]))
        again = measure.Figures.from_json(figures.to_json())
        self.assertEqual(bars.Check(figures).bars, bars.Check(again).bars)


class Bars(unittest.TestCase):
    def check(self, us, machine="wide", valid="yes"):
        return bars.Check(figures_of(result("clang 19", 1, [(bars.FUSED, us, 6, 400),
                                                            (bars.CORE, us, 6, 400)],
                                            machine, valid)))

    def test_two_figures_by_kind_of_machine(self):
        for us, machine, expected in ((10, "wide", "pass"), (20, "wide", "short"),
                                      (20, "narrow", "pass"), (30, "narrow", "short")):
            check = self.check(us, machine)
            self.assertEqual(state(check, "scan fused: vs plain loop"), [expected], (us, machine))

    def test_the_gate_is_lower_than_the_bar(self):
        self.assertTrue(self.check(20).gate_passes())
        self.assertFalse(self.check(30).gate_passes())
        self.assertFalse(self.check(20).all_pass())

    def test_void_limits_make_no_bar_pass(self):
        check = self.check(8, valid="no")
        self.assertEqual(state(check, "scan core: of limit"), ["void"])
        self.assertEqual(state(check, "scan core: vs plain loop"), ["pass"])

    def test_a_row_that_is_not_there_is_none(self):
        self.assertEqual(state(self.check(10), "mamba-130m prefill 2048: of limit"), ["none"])

    def test_g_plus_plus_beside_clang(self):
        check = bars.Check(figures_of(result("clang 19", 1, [(bars.FUSED, 8, 6, 400)]),
                                      result("g++ 12", 1, [(bars.FUSED, 10, 6, 400)])))
        bar = [bar for bar in check.bars if bar.key == "gcc"][0]
        self.assertEqual((bar.state, round(bar.figure, 3)), ("short", 0.8))

    def test_peers(self):
        name = bars.MODEL.format("prefill", 2048)
        check = bars.Check(figures_of(
            result("clang 19", 1, [(name, 1000, 600, None)]),
            peers=[("llama", "mamba-130m", {"threads": 1, "version": "x",
                                            "tokens_per_s": {"2048": 300.0, "1": 50.0}})]))
        self.assertEqual(state(check, "mamba-130m prefill 2048 vs llama"), ["short"])
        self.assertEqual(state(check, "mamba-130m decode vs transformers"), [])

    def test_opening(self):
        check = bars.Check(figures_of(result("clang 19", 1, [
            ("open/avx512/mamba-130m", 4100, None, None), ("open/avx512/mamba-130m-f32.gguf", 5200, None, None)])))
        self.assertEqual(state(check, "mamba-130m, 517 MB: ms to the first tensor"), ["pass"])
        self.assertEqual(state(check, "mamba-130m-f32.gguf, 517 MB: ms to the first tensor"), ["short"])

    def test_peers_of_attention(self):
        name = bars.ATTENTION.format("prefill", "B1_T4096_H12_d64")
        figures = measure.Figures()
        figures.add(result("clang 19", 1, [(name, 100, 80, None)]))
        for took in (190.0, 180.0):
            figures.add_attention_peer("torch", {"threads": 1, "version": "x",
                                                 "attention": {"B1_T4096_H12_d64": took}})
        figures.finish(measure.ForeignUse())
        again = measure.Figures.from_json(json.loads(json.dumps(figures.to_json())))
        for kept in (figures, again):
            check = bars.Check(kept)
            self.assertEqual(state(check, "attention T=4096 full vs torch"), ["pass"])
            self.assertEqual(state(check, "attention T=4096 causal vs torch"), ["none"])
            self.assertEqual(check.value("clang 19", 1, name, "vs_peer"), {"torch": 1.8})
            self.assertEqual(state(check, "attention T=4096 full vs llama"), [])

    def test_every_row_of_a_bar_is_asked_for(self):
        import re
        names = {"mixers_bench": [bars.CORE, bars.FUSED, bars.ONE_TOKEN, bars.CORE_AVX2,
                                  bars.CONV.format(2048)]
                 + [bars.SCAN + f"prefill/B1_T{t}_D64_N16" for t in bars.LENGTHS]
                 + [bars.ATTENTION.format("prefill", "B1_T4096_H12_d64_causal"),
                    bars.ATTENTION.format("ragged", "R8_packed")],
                 "primitives_bench": ["gemm/avx512/x_proj_M16_N80_K1536"],
                 "models_bench": [bars.MODEL.format("prefill", 2048),
                                  "model_int8/avx512/prefill/llama-124m_T512",
                                  bars.MODEL.format("decode", 1)],
                 "open_bench": ["open/avx512/mamba-130m", "open/avx512/mamba-130m-f32.gguf"]}
        for kind in parts.FORMATS:
            for phase in ("prefill", "decode"):
                for part in parts.parts(figures_of(), "clang 19", kind, phase):
                    program = ("primitives" if re.match("gemm|rms_norm|add", part.row)
                               else "mixers") + "_bench"
                    names[program].append(part.row)
        for program, listed in names.items():
            for name in listed:
                self.assertRegex(name + "/manual_time", re.compile(bars.PATTERNS[program]))


class Parts(unittest.TestCase):
    def figures(self):
        """Every part of 10 us, half of it limit, all layers together; a model of 200 us a token."""
        rows = []
        for phase, tokens in (("prefill", 2048), ("decode", 1)):
            empty = figures_of(result("clang 19", 1, [("gemm_i8_tiles/avx512/x", 1, 1, None)]))
            for part in parts.parts(empty, "clang 19", "int8", phase):
                us = 10 * part.tokens / part.times
                rows.append((part.row, us, us / 2, None))
            rows.append((f"model_int8/avx512/{phase}/mamba-130m_T{tokens}", 200 * tokens, None, None))
        return figures_of(result("clang 19", 1, rows))

    def test_what_is_not_a_part_is_the_rest(self):
        text = "\n".join(parts.section(self.figures(), "clang 19"))
        self.assertIn("| scan | 0.01 | 10.0 | 10 | 0.50 |", text)
        self.assertIn("| rest |  | 120.0 |", text)  # of prefill: 8 parts
        self.assertIn("| rest |  | 130.0 |", text)  # of decode: 7
        self.assertIn("| **200.0** |", text)
        self.assertNotIn("bf16: us", text)
        xml.etree.ElementTree.fromstring(parts.draw(self.figures(), "clang 19"))
        self.assertAlmostEqual(parts.glue_over_limit(self.figures(), "clang 19", "int8"), 160 / 20)
        self.assertIsNone(parts.glue_over_limit(self.figures(), "clang 19", "bf16"))

    def test_samples_split_the_model(self):
        figures = self.figures()
        name = "model_int8/avx512/prefill/mamba-130m_T2048"
        for _ in range(2):
            figures.add_samples("clang 19.1.7", 1, {name: {"products": 100, "scan": 75, "rest": 25}})
        text = "\n".join(parts.section(figures, "clang 19"))
        self.assertIn("| scan | 0.01 | 75.0 | 10 | 0.07 |", text)
        self.assertIn("| products in place |  | 60.0 |", text)
        self.assertIn("| rest |  | 25.0 |", text)
        self.assertAlmostEqual(parts.glue_over_limit(figures, "clang 19", "int8"), 100 / 20)
        again = measure.Figures.from_json(json.loads(json.dumps(figures.to_json())))
        self.assertEqual(parts.section(again, "clang 19"), parts.section(figures, "clang 19"))

    def test_functions_have_kinds(self):
        for name, kind in (
                ("seqmix::avx512::(anonymous namespace)::scan(seqmix::SelectiveScanArgs const&)",
                 "scan"),
                ("seqmix::avx512::(anonymous namespace)::scan(seqmix::AarenArgs const&)", "rest"),
                ("void seqmix::avx512_tiles::(anonymous namespace)::multiply_pairs<1>(long)",
                 "products"),
                ("seqmix::avx512::(anonymous namespace)::add(long, long, float const*)", "residual"),
                ("seqmix::avx512::(anonymous namespace)::rms_norm(seqmix::NormArgs const&)", "norm")):
            self.assertEqual(samples.kind_of(name), kind, name)


class Document(unittest.TestCase):
    def test_short_bars_and_a_busy_machine_are_said(self):
        figures = figures_of(result("clang 19", 1, [(bars.FUSED, 20, 6, 400)]))
        figures.foreign = 0.7
        machine = dict(document.describe_machine(), commit="0123abc")
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "docs"))
            root, document.ROOT = document.ROOT, folder
            try:
                with open(document.write(figures, machine), encoding="utf-8") as file:
                    text = file.read()
                xml.etree.ElementTree.parse(os.path.join(folder, "docs", "roofline.svg"))
            finally:
                document.ROOT = root
        self.assertIn("**short**", text)
        self.assertIn("The machine was busy", text)
        self.assertIn("Commit 0123abc", text)

    def test_points_outside_the_picture_stay_on_its_edge(self):
        picture = roofline.draw("t", [("scan", "a < b", 1e-9, 1e9)], 230.0, 115.0, 30.0)
        xml.etree.ElementTree.fromstring(picture)

    def test_the_check_prints(self):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            bars.Check(figures_of(result("g++ 12", 1, [(bars.FUSED, 20, 6, 400)]))).print()
        self.assertIn("SHORT", output.getvalue())


class Model(unittest.TestCase):
    def test_work_of_a_token(self):
        for shape, weights in (("mamba", 89653248), ("llama", 84934656)):
            made = model_130m.TENSORS[shape](model_130m.Maker(0))
            matrices = [t for t in made if len(t.shape) == 2 and "embed" not in t.name
                        and "A_log" not in t.name]
            self.assertEqual(sum(t.bytes for t in matrices) // 4, weights)

    def test_noise_is_the_same_for_a_seed_and_as_large_as_asked(self):
        import random
        data = [b"".join(model_130m.noise(random.Random("0 a"), 5000, 0.02)) for _ in range(2)]
        self.assertEqual(data[0], data[1])
        values = struct.unpack("<5000f", data[0])
        mean_square = sum(v * v for v in values) / len(values)
        self.assertLess(abs(sum(values) / len(values)), 0.002)
        self.assertTrue(0.7 < (mean_square ** 0.5) / 0.02 < 1.4, mean_square)


if __name__ == "__main__":
    unittest.main()
