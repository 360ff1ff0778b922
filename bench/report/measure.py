"""Builds the bench programs, runs them and their peers, and keeps the best figures of several rounds.

A row's time, its plain loop's and its limit's are each the best of all rounds with one compiler and
one number of threads; ratios are of these. Foreign CPU use (other programs, and what the host of a
virtual machine took) is counted while the programs run.
"""
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = ["mixers_bench", "primitives_bench", "models_bench", "open_bench"]
MODEL_PEERS = ["llama", "transformers"]  # of the whole-model rows
ATTENTION_PEERS = ["llama", "torch"]  # of rows of attention_op, their own programs
# fftw: of rows of primitives_bench, inside that program
PEERS = MODEL_PEERS + ["torch", "fftw"]
ATTENTION_ROW = "attention_op/{}/prefill/B1_T{}_H12_d64"
ATTENTION_TOKENS = (1024, 4096)
MODEL = os.path.join(ROOT, "build", "bench-models", "mamba-130m")
MODEL_ROWS = [f"model/{isa}/{phase}/mamba-130m_T{tokens}" for isa in ("avx2", "avx512")
              for phase, tokens in (("prefill", 512), ("prefill", 2048), ("decode", 1))]
OPEN_ROW = "open/{}/{}"
OPEN_KINDS = ("mamba-130m", "mamba-130m-f32.gguf")


def fail(message):
    sys.exit("tools/bench: " + message)


def say(text):
    print(text, file=sys.stderr, flush=True)


# ------------------------------------------------------------------ compilers and builds

def newest_clang():
    for version in range(22, 14, -1):  # older ones do not take libstdc++'s C++20 headers
        if shutil.which(f"clang++-{version}"):
            return f"clang++-{version}"
    return "clang++" if shutil.which("clang++") else None


def preferred_compiler():
    """SEQMIX_BENCH_CXX, else the newest clang, else the system's (None)."""
    return os.environ.get("SEQMIX_BENCH_CXX") or newest_clang()


def all_compilers():
    """For the bars: clang and g++, where both are installed."""
    if os.environ.get("SEQMIX_BENCH_CXX"):
        return [os.environ["SEQMIX_BENCH_CXX"]]
    found = [newest_clang(), "g++" if shutil.which("g++") else None]
    return [name for name in found if name] or [None]


def build(cxx, folder=None):
    if folder is None:
        folder = os.path.join(ROOT, "build", "bench-" + os.path.basename(cxx or "default"))
    command = ["cmake", "--preset", "release", "-B", folder, "-DSEQMIX_BUILD_BENCH=ON",
               "-DSEQMIX_BUILD_TESTS=OFF", "-DSEQMIX_BUILD_EXAMPLES=OFF", "-DSEQMIX_BUILD_CLI=OFF"]
    if cxx:
        command += ["-DCMAKE_CXX_COMPILER=" + cxx, "-DCMAKE_C_COMPILER="
                    + cxx.replace("clang++", "clang").replace("g++", "gcc")]
    jobs = os.environ.get("SEQMIX_JOBS", str(os.cpu_count() or 1))
    for step in (command, ["cmake", "--build", folder, "-j", jobs, "--target"] + PROGRAMS):
        done = subprocess.run(step, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if done.returncode != 0:
            sys.stderr.write(done.stdout[-4000:])
            fail("cannot build: " + " ".join(step))
    return folder


def find_program(folder, name):
    for directory, _, files in os.walk(folder):
        path = os.path.join(directory, name)
        if name in files and os.access(path, os.X_OK):
            return path
    fail(name + " is not in " + folder)


# ------------------------------------------------------------------ the model

def make_model(path, *options):
    if not os.path.exists(path):
        say("making " + os.path.relpath(path, ROOT))
        script = os.path.join(ROOT, "bench", "model_130m.py")
        if subprocess.run([sys.executable, script, path, *options], stdout=subprocess.DEVNULL,
                          check=False).returncode != 0:
            fail("cannot make " + path)
    return path


def models_for(name, pattern):
    """What a program runs. models_bench: the shipped model, and the large one where a row of it matches;
    open_bench: the large one where its rows match, in both kinds of file; others: nothing."""
    if name == "open_bench":
        if not any(re.search(pattern, OPEN_ROW.format(isa, kind) + "/manual_time")
                   for isa in ("avx2", "avx512") for kind in OPEN_KINDS):
            return []
        return [make_model(MODEL), make_model(MODEL + "-f32.gguf", "--gguf")]
    if name != "models_bench":
        return [None]
    models = [os.path.join(ROOT, "models", "shakespeare")]
    if any(re.search(pattern, name + "/manual_time") for name in MODEL_ROWS):
        models.append(make_model(MODEL))
    return models


# ------------------------------------------------------------------ foreign use of the CPU

class ForeignUse:
    """CPU seconds of others while our programs ran, over the seconds that passed: cores."""

    def __init__(self):
        self.wall = self.seconds = self.stolen = 0.0

    @staticmethod
    def _now():
        try:
            with open("/proc/stat", encoding="utf-8") as file:
                ticks = [int(n) for n in file.readline().split()[1:9]]
        except OSError:
            ticks = [0] * 8
        tick = os.sysconf("SC_CLK_TCK")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = resource.getrusage(resource.RUSAGE_SELF)
        busy = (sum(ticks[:3]) + sum(ticks[5:7])) / tick
        ours = used.ru_utime + used.ru_stime + own.ru_utime + own.ru_stime
        return time.monotonic(), busy - ours, ticks[7] / tick

    def run(self, command, **options):
        before = self._now()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, **options)
        after = self._now()
        self.wall += after[0] - before[0]
        self.seconds += max(0.0, after[1] - before[1])
        self.stolen += max(0.0, after[2] - before[2])
        return done

    def cores(self):
        return self.seconds / self.wall if self.wall else 0.0

    def stolen_cores(self):
        return self.stolen / self.wall if self.wall else 0.0


# ------------------------------------------------------------------ figures

def short_name(compiler):
    """'clang 19.1.7 (3+b1)' -> 'clang 19'."""
    match = re.match(r"(\S+) (\d+)", compiler)
    return f"{match.group(1)} {match.group(2)}" if match else compiler


class Figures:
    """Rows by (compiler, threads, name), limits by (compiler, threads), peers by (peer, threads)."""

    def __init__(self):
        self.rows, self.contexts, self.peers, self.missing = {}, {}, {}, {}
        self.attention = {}  # figures by (peer, threads)
        self.foreign = self.stolen = 0.0
        self.rounds = 0

    def add(self, result):
        context = result["context"]
        compiler, threads = short_name(context["compiler"]), int(context["threads"])
        known = self.contexts.setdefault((compiler, threads), dict(context))
        for key in ("fma_avx512", "fma_avx2", "memory_read", "memory_copy"):
            known[key] = max(known[key], context[key], key=lambda text: float(text.split()[0]))
        if context["limits_valid"] == "yes":
            known["limits_valid"], known["limits_note"] = "yes", context["limits_note"]
        for entry in result["benchmarks"]:
            if entry.get("run_type") == "aggregate":
                continue
            name = re.split("/manual_time|/min_time", entry["name"])[0]
            row = self.rows.setdefault((compiler, threads, name), {
                "name": name, "isa": name.split("/")[1], "compiler": compiler, "threads": threads,
                "time_us": entry["best_us"], "limit_us": entry.get("limit_us"),
                "plain_us": entry.get("plain_us"), "peer_us": entry.get("peer_us"),
                "peer_transposed_us": entry.get("peer_transposed_us"),
                "worst_over_median": entry.get("worst_over_median"),
                "flops": entry["flop/s"] * entry["best_us"] * 1e-6,
                "bytes": entry["bytes/s"] * entry["best_us"] * 1e-6,
                "tokens": entry.get("tokens/s", 0) * entry["best_us"] * 1e-6})
            for key, now in (("time_us", "best_us"), ("limit_us", "limit_us"),
                             ("plain_us", "plain_us"), ("peer_us", "peer_us"),
                             ("peer_transposed_us", "peer_transposed_us"),
                             ("worst_over_median", "worst_over_median")):
                if entry.get(now) is not None:
                    row[key] = min(row[key] or entry[now], entry[now])

    def add_attention_peer(self, peer, figures):
        best = self.attention.setdefault((peer, figures["threads"]), figures)
        for name, took in figures["attention"].items():
            best["attention"][name] = min(best["attention"][name], took)

    def add_peer(self, peer, figures):
        best = self.peers.setdefault((peer, figures["threads"]), figures)
        for key in ("prefill", "decode"):
            best[key] = max(best[key], figures[key])

    def finish(self, foreign):
        """The ratios, once all rounds are in."""
        self.foreign, self.stolen = foreign.cores(), foreign.stolen_cores()
        for row in self.rows.values():
            us = row["time_us"]
            row["gflops"], row["gbytes"] = row["flops"] / us * 1e-3, row["bytes"] / us * 1e-3
            row["tokens_per_s"] = row["tokens"] / us * 1e6 if row["tokens"] else None
            row["of_limit"] = row["limit_us"] / us if row["limit_us"] else None
            row["vs_plain"] = row["plain_us"] / us if row["plain_us"] else None
            row["vs_peer"] = {}
            if row.get("peer_us"):
                row["vs_peer"]["fftw"] = row["peer_us"] / us
                row["vs_fftw_transposed"] = row["peer_transposed_us"] / us
            match = re.fullmatch(r"model(|_bf16|_int8)/\w+/(\w+)/mamba-130m_T(2048|1)", row["name"])
            for (peer, threads), figures in self.peers.items():
                name, _, format_name = peer.partition("_")
                if (match and threads == row["threads"]
                        and match.group(1).removeprefix("_") == format_name):
                    row["vs_peer"][name] = row["tokens_per_s"] / figures[match.group(2)]
            for (peer, threads), figures in self.attention.items():
                kind, _, _, shape = (row["name"].split("/") + [""] * 4)[:4]
                if (kind == "attention_op" and threads == row["threads"]
                        and shape in figures["attention"]):
                    row["vs_peer"][peer] = figures["attention"][shape] / us

    def row(self, compiler, threads, name):
        return self.rows.get((compiler, threads, name))

    def compilers(self):
        return list(dict.fromkeys(compiler for compiler, _ in self.contexts))

    def threads(self):
        return sorted({threads for _, threads in self.contexts})

    def machine(self):
        """wide or narrow, by most of the processes: one of them may have met a busy moment."""
        kinds = [context["machine"] for context in self.contexts.values()]
        return max(set(kinds), key=kinds.count) if kinds else "?"

    def valid(self, compiler, threads):
        return self.contexts.get((compiler, threads), {}).get("limits_valid") == "yes"

    def to_json(self):
        return {"rows": list(self.rows.values()), "foreign": self.foreign, "stolen": self.stolen,
                "rounds": self.rounds, "missing": self.missing,
                "contexts": list(self.contexts.values()),
                "peers": [{"peer": peer, **figures} for (peer, _), figures in self.peers.items()],
                "attention": [{"peer": peer, **figures}
                              for (peer, _), figures in self.attention.items()]}

    @staticmethod
    def from_json(data):
        figures = Figures()
        for name in ("foreign", "stolen", "rounds", "missing"):
            setattr(figures, name, data[name])
        for row in data["rows"]:
            figures.rows[(row["compiler"], row["threads"], row["name"])] = row
        for context in data["contexts"]:
            key = (short_name(context["compiler"]), int(context["threads"]))
            figures.contexts[key] = context
        for peer in data["peers"]:
            figures.peers[(peer["peer"], peer["threads"])] = peer
        for peer in data.get("attention", []):
            figures.attention[(peer["peer"], peer["threads"])] = peer
        return figures


# ------------------------------------------------------------------ running

def run_program(folder, name, threads, isa, pattern, min_time, foreign, model=None, fftw=None):
    command = [find_program(folder, name), "--threads", str(threads), "--benchmark_format=json",
               "--benchmark_min_time=" + min_time]
    if isa:
        command += ["--isa", isa]
    if pattern:
        command.append("--benchmark_filter=" + pattern)
    environment = dict(os.environ)
    if model:
        environment["SEQMIX_BENCH_MODEL"] = model
    environment["SEQMIX_FFTW"] = fftw or ""
    done = foreign.run(command, env=environment)
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        fail(name + " failed")
    start = done.stdout.find("{")
    return json.loads(done.stdout[start:]) if start >= 0 else None  # None: no row matches


def build_peers(peers, figures):
    """Those that can be had, with what their build prints; for the others one line says why not."""
    ready = {}
    for peer in peers:
        say(f"peer {peer}: fetching and building, if it is not there yet")
        done = subprocess.run([os.path.join(ROOT, "tools", "peers", peer), "build"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False)
        if done.returncode == 0:
            ready[peer] = done.stdout.strip().split("\n")[-1]
        else:
            lines = done.stderr.strip().split("\n")
            figures.missing[peer] = lines[-1]
            say(f"peer {peer} cannot be had: {lines[-1]}")
    return ready


def run_peer(peer, threads, foreign, figures):
    """The model as f32 and, by llama.cpp, in the formats that rows keep matrices in."""
    formats = {"": []}
    if peer == "llama":
        formats.update({"_bf16": ["--type", "bf16"], "_int8": ["--type", "q8_0"]})
    for suffix, options in formats.items():
        run_peer_format(peer, suffix, options, threads, foreign, figures)


def run_peer_format(peer, suffix, options, threads, foreign, figures):
    model = (make_model(MODEL + "-f32.gguf", "--gguf") if peer == "llama" else make_model(MODEL))
    done = foreign.run([os.path.join(ROOT, "tools", "peers", peer), "run", model, "--threads",
                        str(threads)] + options)
    if done.returncode != 0:
        figures.missing[peer] = done.stderr.strip().split("\n")[-1]
        say(f"peer {peer}: {figures.missing[peer]}")
        return
    figures.add_peer(peer + suffix, json.loads(done.stdout.strip().split("\n")[-1]))


def run_attention_peer(peer, tokens, threads, foreign, figures):
    done = foreign.run([os.path.join(ROOT, "tools", "peers", peer), "attention", "--threads",
                        str(threads)] + [str(count) for count in tokens])
    if done.returncode != 0:
        figures.missing[peer] = done.stderr.strip().split("\n")[-1]
        say(f"peer {peer}: {figures.missing[peer]}")
        return
    figures.add_attention_peer(peer, json.loads(done.stdout.strip().split("\n")[-1]))


def attention_tokens(pattern):
    """Lengths of attention_op's rows that a pattern asks for."""
    return [tokens for tokens in ATTENTION_TOKENS
            if any(re.search(pattern, ATTENTION_ROW.format(isa, tokens) + causal + "/manual_time")
                   for isa in ("avx2", "avx512") for causal in ("", "_causal"))]


def measure(builds, threads, patterns, isa="", rounds=1, min_time="0.2", peers=(), keep=None):
    """`builds`: folders; `patterns`: program -> regular expression of names ('' for all). keep(figures)
    is called as often as there is something new, so that a run that is cut off is not lost."""
    figures, foreign = Figures(), ForeignUse()
    figures.rounds = rounds
    peers = build_peers(peers, figures)
    for turn in range(rounds):
        for folder in builds:
            for count in threads:
                if rounds * len(builds) * len(threads) > 1:
                    say(f"round {turn + 1} of {rounds}: {os.path.basename(folder)}, "
                        f"{count} thread(s)")
                for name, pattern in patterns.items():
                    for model in models_for(name, pattern):
                        fftw = peers.get("fftw") if name == "primitives_bench" else None
                        result = run_program(folder, name, count, isa, pattern, min_time, foreign,
                                             model, fftw)
                        if result:
                            figures.add(result)
                    if name == "mixers_bench" and folder == builds[0] and attention_tokens(pattern):
                        for peer in [p for p in peers
                                     if p in ATTENTION_PEERS and p not in figures.missing]:
                            run_attention_peer(peer, attention_tokens(pattern), count, foreign,
                                               figures)
                    if name == "models_bench" and folder == builds[0]:
                        for peer in [p for p in peers
                                     if p in MODEL_PEERS and p not in figures.missing]:
                            run_peer(peer, count, foreign, figures)
                    if keep:
                        figures.finish(foreign)
                        keep(figures)
    figures.finish(foreign)
    return figures
