"""Every bar on speed, by compiler, number of threads and kind of machine, with its figure.

A machine is wide if its AVX-512 FMA rate is at least 1.5 times its AVX2 rate, else narrow. Where a bar
has two figures they are for wide and for narrow. A bar is `pass`, `short`, `void` (the limits were
not valid in this run), or `none` (its row was not measured: a CPU without AVX-512, a peer not asked for).
"""
from typing import NamedTuple, Optional

from report import parts

SCAN = "selective_scan_op/avx512/"
SHAPE = "B1_T2048_D1536_N16"
CORE, FUSED = SCAN + "core/" + SHAPE, SCAN + "prefill/" + SHAPE
ONE_TOKEN = SCAN + "decode/B1_T1_D1536_N16"
CORE_AVX2 = "selective_scan_op/avx2/core/" + SHAPE
CONV = "causal_conv1d_op/avx512/prefill/B1_T{}_D1536_K4"
LENGTHS = [1024, 8192, 65536, 1048576]
KERNELS = "{}/avx512/L16384_H256_N64"  # of state-space layers
S4D_STEP = "s4d/avx512/decode/B1_T1_D256_N64"
MODEL = "model/avx512/{}/mamba-130m_T{}"
ATTENTION = "attention_op/avx512/{}/{}"
GATE = {"wide": 15.0, "narrow": 10.0}  # of the fused scan; below it `tools/bench --check` fails

# What the rows of the bars are called: the programs' filters.
PATTERNS = {
    "mixers_bench": "^((selective_scan_op/(avx512/|avx2/core/)|causal_conv1d_op/avx512/"
                    "|s4d/avx512/decode/)(core/|prefill/|decode/)?B1_|attention_op/avx512/)",
    "primitives_bench": "^(gemm/avx512/.*_M(512|16|1)_|gemm_(bf16|i8)_.*/avx512/.*_M(512|1)_"
                        "|(cauchy|dplr_kernel|vandermonde|long_conv)/avx512/"
                        "|(rms_norm|add)/avx512/)",
    "open_bench": "^open/avx512/",
    "models_bench": "^model(|_bf16|_int8)/avx512/(prefill/(mamba-130m_T(512|2048)|llama-124m_T512)"
                    "|decode/(mamba-130|llama-124)m_T1)/",
}


class Bar(NamedTuple):
    key: str  # the note in document.py that says why it is short
    what: str
    compiler: str
    threads: int
    figure: Optional[float]
    most: bool  # the figure must be at most `need`, not at least
    need: float
    state: str
    gate: bool = False
    ceiling: Optional[float] = None  # what the figure would be at the row's own limit

    def text(self):
        figure = "-" if self.figure is None else number(self.figure)
        ceiling = f"; {number(self.ceiling)} at this machine's limit" if self.ceiling else ""
        return f"{figure} ({'<=' if self.most else '>='} {number(self.need)}{ceiling})"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Check:
    """The bars of one run."""

    def __init__(self, figures):
        self.figures = figures
        self.machine = figures.machine()
        self.bars = []
        for compiler in figures.compilers():
            self.scan(compiler)
            self.conv(compiler)
            self.gemm(compiler)
            self.state_space(compiler)
            self.model(compiler)
            self.long_conv(compiler)
            self.attention(compiler)
        self.compilers()

    def pick(self, wide, narrow):
        return narrow if self.machine == "narrow" else wide

    def add(self, key, what, compiler, threads, figure, need, most=False, limit=False, gate=False,
            ceiling=None):
        if threads not in self.figures.threads():
            return
        if figure is None:
            state = "none"
        elif limit and not self.figures.valid(compiler, threads):
            state = "void"
        else:
            state = "pass" if (figure <= need if most else figure >= need) else "short"
        self.bars.append(Bar(key, what, compiler, threads, figure, most, need, state, gate,
                             ceiling))

    def value(self, compiler, threads, name, field):
        row = self.figures.row(compiler, threads, name)
        return row.get(field) if row else None

    def of_limit(self, key, what, compiler, threads, name, need):
        self.add(key, what + ": of limit", compiler, threads,
                 self.value(compiler, threads, name, "of_limit"), need, limit=True)

    def ratio(self, compiler, over, under, scale=1.0):
        """Time of (threads, name) `over` by that of `under`, times scale."""
        a = self.value(compiler, over[0], over[1], "time_us")
        b = self.value(compiler, under[0], under[1], "time_us")
        return a / b * scale if a and b else None

    def speedup(self, key, what, compiler, name, need):
        self.add(key, what + ": two threads over one", compiler, 2,
                 self.ratio(compiler, (1, name), (2, name)), need)

    # -------------------------------------------------------------- the groups

    def scan(self, c):
        self.of_limit("core", "scan core", c, 1, CORE, 0.65)
        self.add("core", "scan core: vs plain loop", c, 1, self.value(c, 1, CORE, "vs_plain"),
                 self.pick(40, 25))
        fused = self.value(c, 1, FUSED, "vs_plain")
        self.add("fused", "scan fused: vs plain loop", c, 1, fused, self.pick(30, 17))
        self.add("fused", "scan fused: vs plain loop, the gate", c, 1, fused,
                 GATE.get(self.machine, GATE["wide"]), gate=True)
        self.of_limit("one_token", "scan, one token", c, 1, ONE_TOKEN, 0.3)
        for states in (8, 24, 64):
            name = SCAN + f"prefill/B1_T2048_D1536_N{states}"
            self.add("shapes", f"scan N={states}: time of an update, N=16 is 1", c, 1,
                     self.ratio(c, (1, name), (1, FUSED), 16 / states), 1.6, most=True)
        self.add("shapes", "scan D=1531: time of an update, D=1536 is 1", c, 1,
                 self.ratio(c, (1, SCAN + "prefill/B1_T2048_D1531_N16"), (1, FUSED), 1536 / 1531),
                 1.6, most=True)
        self.add("n1", "scan N=1: time of the call, N=16 is 1", c, 1,
                 self.ratio(c, (1, SCAN + "prefill/B1_T2048_D1536_N1"), (1, FUSED)), 0.5, most=True)
        self.of_limit("avx2", "scan core, AVX2", c, 1, CORE_AVX2, 0.6)
        self.speedup("threads", "scan core", c, CORE, 1.7)
        self.speedup("threads", "scan fused", c, FUSED, 1.7)
        for threads in (1, 2):
            per_token = [self.value(c, threads, SCAN + f"prefill/B1_T{t}_D64_N16", "time_us")
                         for t in LENGTHS]
            known = [us / t for us, t in zip(per_token, LENGTHS) if us]
            self.add("linear", "scan D=64, T 1k to 1M: longest time of a token over shortest", c,
                     threads, max(known) / min(known) if len(known) == len(LENGTHS) else None, 1.15,
                     most=True)

    def conv(self, c):
        for threads in (1, 2):
            for tokens, where in ((2048, ""), (65536, ", beyond the caches")):
                self.of_limit("conv", f"convolution 4 + SiLU{where}, limit the copy", c, threads,
                              CONV.format(tokens), 0.5)

    def gemm(self, c):
        def row(what, rows):
            return "gemm" + parts.product(what, rows)
        for what, (n, k) in parts.PRODUCTS.items():
            label = f"product {what} (N{n} K{k})"
            name = row(what, 512)
            self.of_limit("gemm", label + ", M=512", c, 1, name, 0.7 if k < 64 else 0.85)
            for kind, need in (("bf16", 0.6 if k < 64 else 0.8), ("int8", 0.4 if k < 64 else 0.62)):
                rounded = parts.product_row(self.figures, c, kind)
                self.of_limit("gemm", f"{label}, M=512, {kind}", c, 1,
                              rounded + parts.product(what, 512), need)
                for threads in (1, 2):
                    self.of_limit("gemv", f"{label}, M=1 cold, {kind}, limit memory reads", c,
                                  threads, rounded + parts.product(what, 1), 0.8)
            self.add("gemm_threads", label + ", M=512: two threads over one", c, 2,
                     self.ratio(c, (1, name), (2, name)), 1.8)
            self.of_limit("gemm16", label + ", M=16", c, 1, row(what, 16), 0.5)
            for threads in (1, 2):
                self.of_limit("gemv", label + ", M=1 cold, limit memory reads", c, threads,
                              row(what, 1), 0.8)

    def state_space(self, c):
        cauchy = KERNELS.format("cauchy")
        self.of_limit("kernels", "Cauchy sums", c, 1, cauchy, 0.6)
        self.add("kernels", "Cauchy sums: vs plain loop", c, 1, self.value(c, 1, cauchy, "vs_plain"),
                 self.pick(80, 50))
        self.of_limit("kernels", "S4's kernel, whole", c, 1, KERNELS.format("dplr_kernel"), 0.5)
        self.of_limit("kernels", "Vandermonde products", c, 1, KERNELS.format("vandermonde"), 0.35)
        self.of_limit("s4d_step", "S4D, one token of 256 channels", c, 1, S4D_STEP, 0.4)

    def model(self, c):
        for kind in ("mamba-130m", "mamba-130m-f32.gguf"):
            time_us = self.value(c, 1, f"open/avx512/{kind}", "time_us")
            self.add("open", f"{kind}, 517 MB: ms to the first tensor", c, 1,
                     time_us / 1000 if time_us else None, 5, most=True)
        prefill, decode = MODEL.format("prefill", 2048), MODEL.format("decode", 1)
        self.of_limit("prefill", "mamba-130m prefill 2048", c, 1, prefill, 0.65)
        self.speedup("prefill_threads", "mamba-130m prefill 2048", c, prefill, 1.7)
        for threads in (1, 2):
            self.of_limit("decode", "mamba-130m decode, limit memory reads", c, threads, decode, 0.65)
        share = parts.glue_over_limit(self.figures, c, "bf16")
        self.add("glue", "mamba-130m prefill in bf16: scan, convolution, norms and glue over their "
                 "limit", c, 1, share, 1.7, most=True)
        asked = {key[0] for key in self.figures.peers} | set(self.figures.missing)
        if "llama" in asked:
            for kind, need_prefill, need_decode in (
                    ("", self.pick(3.7, 2.4), self.pick(1.3, 1.2)),
                    ("bf16", self.pick(4.5, 3.6), self.pick(1.5, 1.3)),
                    ("int8", self.pick(7, 5), self.pick(2.5, 1.8))):
                for threads in (1, 2):
                    for tokens in (512, 2048):
                        self.beside("llama", c, threads, "mamba-130m", kind, tokens, need_prefill)
                    self.beside("llama", c, threads, "llama-124m", kind, 512, 1.0)
                    self.beside("llama", c, threads, "llama-124m", kind, 1, 1.0)
                self.beside("llama", c, 2, "mamba-130m", kind, 1, need_decode)
            self.beside("llama", c, 1, "mamba-130m", "", 1, 1.15)
        if "transformers" in asked:
            for threads in (1, 2):
                self.beside("transformers", c, threads, "mamba-130m", "", 2048, 4.5)
                self.beside("transformers", c, threads, "mamba-130m", "", 1, 2.0)

    def beside(self, peer, c, threads, model, kind, tokens, need):
        """A model's speed over a peer's; of decode with what it would be at the row's limit."""
        phase = "decode" if tokens == 1 else "prefill"
        name = f"model{'_' + kind if kind else ''}/avx512/{phase}/{model}_T{tokens}"
        ratio = (self.value(c, threads, name, "vs_peer") or {}).get(peer)
        share = self.value(c, threads, name, "of_limit") if tokens == 1 else None
        what = f"{model} {phase}{'' if tokens == 1 else ' ' + str(tokens)}"
        self.add("peer_" + phase, f"{what}{' in ' + kind if kind else ''} vs {peer}", c, threads, ratio,
                 need, ceiling=ratio / share if share and ratio else None)

    def long_conv(self, c):
        for tokens, channels, need in ((1024, 768, self.pick(1.5, 1.3)),
                                       (4096, 768, self.pick(1.5, 1.3)),
                                       (16384, 768, self.pick(1.3, 1.15)),
                                       (65536, 768, self.pick(1.3, 1.15)),
                                       (262144, 64, self.pick(1.3, 1.15)),
                                       (1048576, 64, self.pick(1.3, 1.15))):
            name = f"long_conv/avx512/whole/L{tokens}_D{channels}"
            what = f"causal convolution L={tokens} D={channels}"
            ratios = self.value(c, 1, name, "vs_peer") or {}
            self.add("long_conv", what + ": vs FFTW", c, 1, ratios.get("fftw"), need)
            self.add("long_conv", what + ": vs FFTW with its transposition", c, 1,
                     self.value(c, 1, name, "vs_fftw_transposed"), need)
            if tokens <= 65536:
                self.speedup("long_conv_threads", what, c, name, 1.6)
        for channels in (1, 16):
            name = f"long_conv/avx512/stream/K131072_T128_D{channels}"
            self.add("long_conv_stream", f"2^17 taps in blocks of 128, D={channels}: worst block over "
                     "median", c, 1, self.value(c, 1, name, "worst_over_median"), 4, most=True)

    def attention(self, c):
        def row(tokens, causal, dtype=""):
            return ATTENTION.format("prefill", f"B1_T{tokens}_H12_d64{dtype}" + "_causal" * causal)
        asked = {peer for peer, _ in self.figures.attention} | set(self.figures.missing)
        for tokens, full, causal in ((1024, 0.62, 0.55), (4096, 0.70, 0.66), (16384, 0.70, 0.66)):
            for hides, need in ((False, full), (True, causal)):
                what = f"attention T={tokens} {'causal' if hides else 'full'}"
                self.of_limit("attention", what, c, 1, row(tokens, hides), need)
                self.speedup("attention_threads", what, c, row(tokens, hides), 1.8)
            if tokens >= 4096:
                self.add("attention_causal", f"attention T={tokens}: time of causal over full", c, 1,
                         self.ratio(c, (1, row(tokens, True)), (1, row(tokens, False))), 0.55,
                         most=True)
        for tokens in (4096, 16384):  # half of the limit of bf16 pairs is the whole of f32's
            for hides in (False, True):
                self.of_limit("attention_bf16", f"attention bf16 T={tokens} "
                              f"{'causal' if hides else 'full'}", c, 1, row(tokens, hides, "_bf16"), 0.55)
        self.add("attention_bf16", "attention bf16 T=4096: time of causal over full", c, 1,
                 self.ratio(c, (1, row(4096, True, "_bf16")), (1, row(4096, False, "_bf16"))), 0.56,
                 most=True)
        for peer, dtype, hides, need in (("torch", "", False, self.pick(1.5, 1.05)),
                                         ("torch", "", True, self.pick(1.6, 1.15)),
                                         ("torch", "_bf16", False, 1), ("torch", "_bf16", True, 1),
                                         ("llama", "", False, self.pick(1.5, 1.3)),
                                         ("llama", "", True, self.pick(3.0, 2.8))):
            if peer in asked:
                ratios = self.value(c, 1, row(4096, hides, dtype), "vs_peer") or {}
                self.add("attention_peers", f"attention{dtype.replace('_', ' ')} T=4096 "
                         f"{'causal' if hides else 'full'} vs {peer}", c, 1, ratios.get(peer), need)
        decode = ATTENTION.format("decode", "B1_T1_Tk8192_H12_d64")
        self.of_limit("attention_decode", "attention, one token at depth 8192, limit memory reads",
                      c, 1, decode, 0.7)
        parts = ATTENTION.format("ragged", "R8_parts")
        self.add("attention_ragged", "attention, 8 packed rows: time over the sum of the rows alone",
                 c, 1, self.ratio(c, (1, ATTENTION.format("ragged", "R8_packed")), (1, parts)), 1.1,
                 most=True)

    def compilers(self):
        """g++ against clang, row by row: the bar names the slowest."""
        names = self.figures.compilers()
        clang = next((name for name in names if name.startswith("clang")), None)
        gcc = next((name for name in names if name.startswith("g++")), None)
        if not clang or not gcc:
            return
        for threads in self.figures.threads():
            slowest, name, count, slow = None, "", 0, 0
            for (compiler, at, row), ours in self.figures.rows.items():
                other = self.figures.row(clang, at, row)
                if compiler != gcc or at != threads or not other:
                    continue
                speed = other["time_us"] / ours["time_us"]
                count, slow = count + 1, slow + (speed < 0.85)
                if slowest is None or speed < slowest:
                    slowest, name = speed, row
            self.add("gcc", f"speed of {gcc} over {clang}, slowest of {count} rows, {slow} short "
                     f"({name})", gcc, threads, slowest, 0.85)

    # -------------------------------------------------------------- the verdict

    def gate_passes(self):
        """The fused scan with at least one compiler: what it is to be built with."""
        return any(bar.gate and bar.state == "pass" for bar in self.bars)

    def all_pass(self):
        return all(bar.state == "pass" for bar in self.bars)

    def print(self):
        width = max(len(bar.what) for bar in self.bars)
        print(f"machine {self.machine}, foreign CPU use {self.figures.foreign:.2f} cores, "
              f"stolen {self.figures.stolen:.2f}, {self.figures.rounds} rounds")
        for bar in self.bars:
            print(f"{bar.state.upper() if bar.state != 'pass' else 'pass':5}  "
                  f"{bar.what:{width}}  {bar.compiler:9} {bar.threads} thr  {bar.text()}")
        states = [bar.state for bar in self.bars]
        print(", ".join(f"{states.count(state)} {state}"
                        for state in ("pass", "short", "void", "none")))
        for peer, reason in self.figures.missing.items():
            print(f"peer {peer} cannot be had: {reason}")
