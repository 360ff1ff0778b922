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
import tempfile
import time

from report import samples

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = ["mixers_bench", "primitives_bench", "models_bench", "open_bench"]
ATTENTION_PEERS = ["llama", "torch"]  # of rows of attention_op, their own programs
# fftw: of rows of primitives_bench, inside that program
PEERS = ["llama", "transformers", "torch", "fftw"]
ATTENTION_ROW = "attention_op/{}/prefill/B1_T{}_H12_d64"
ATTENTION_TOKENS = (1024, 4096)
# The models of random weights: what bench/model_130m.py is asked for, the lengths of prefill that
# peers run beside, and which peers.
MODELS = {"mamba-130m": ("mamba", (512, 2048), ("llama", "transformers")),
          "llama-124m": ("llama", (512,), ("llama",))}
# What a row's name says of the matrices, and what llama.cpp is asked for.
FORMATS = {"": [], "_bf16": ["--type", "bf16"], "_int8": ["--type", "q8_0"]}
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


def model_path(name):
    return os.path.join(ROOT, "build", "bench-models", name)


def rows_of(model, suffix=""):
    return [f"model{suffix}/{isa}/{phase}/{model}_T{tokens}/manual_time"
            for isa in ("generic", "avx2", "avx512")
            for phase, tokens in (("prefill", 512), ("prefill", 2048), ("decode", 1))]


def asked_for(pattern, model, suffix=""):
    return any(re.search(pattern, row) for row in rows_of(model, suffix))


def models_for(name, pattern):
    """What a program runs. models_bench: the shipped model, and large ones where a row of theirs matches;
    open_bench: the large Mamba where its rows match, in both kinds of file; others: nothing."""
    if name == "open_bench":
        if not any(re.search(pattern, OPEN_ROW.format(isa, kind) + "/manual_time")
                   for isa in ("avx2", "avx512") for kind in OPEN_KINDS):
            return []
        return [make_model(model_path("mamba-130m")),
                make_model(model_path("mamba-130m") + "-f32.gguf", "--gguf")]
    if name != "models_bench":
        return [None]
    models = [os.path.join(ROOT, "models", "shakespeare")]
    for name, (shape, _, _) in MODELS.items():
        if any(asked_for(pattern, name, suffix) for suffix in FORMATS):
            models.append(make_model(model_path(name), "--shape", shape))
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
    """Rows by (compiler, threads, name), limits by (compiler, threads), peers by (peer, threads) and,
    of models, by (peer, model, format, threads)."""

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

    def add_samples(self, compiler, threads, rows):
        for name, counts in rows.items():
            row = self.rows.get((short_name(compiler), threads, name))
            if row:
                where = row.setdefault("where", {})
                for kind, number in counts.items():
                    where[kind] = where.get(kind, 0) + number

    def add_attention_peer(self, peer, figures):
        best = self.attention.setdefault((peer, figures["threads"]), figures)
        for name, took in figures["attention"].items():
            best["attention"][name] = min(best["attention"][name], took)

    def add_peer(self, peer, model, suffix, figures):
        """`figures`: version, threads, and tokens_per_s by the number of tokens of a call."""
        best = self.peers.setdefault((peer, model, suffix, figures["threads"]), figures)
        for tokens, rate in figures["tokens_per_s"].items():
            best["tokens_per_s"][tokens] = max(best["tokens_per_s"][tokens], rate)

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
            match = re.fullmatch(r"model(|_bf16|_int8)/\w+/\w+/(.*)_T(\d+)", row["name"])
            for (peer, model, suffix, threads), figures in self.peers.items():
                if match and (suffix, model, threads) == (*match.groups()[:2], row["threads"]):
                    rate = figures["tokens_per_s"].get(match.group(3))
                    if rate:
                        row["vs_peer"][peer] = row["tokens_per_s"] / rate
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

    def peer_versions(self):
        """By name; of models and of attention."""
        found = {key[0]: peer["version"] for key, peer in self.attention.items()}
        found.update({key[0]: peer["version"] for key, peer in self.peers.items()})
        return found

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
                "peers": [{"peer": peer, "model": model, "format": suffix, **figures}
                          for (peer, model, suffix, _), figures in self.peers.items()],
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
            figures.peers[(peer["peer"], peer["model"], peer["format"], peer["threads"])] = peer
        for peer in data.get("attention", []):
            figures.attention[(peer["peer"], peer["threads"])] = peer
        return figures


# ------------------------------------------------------------------ running

def run_program(folder, name, threads, isa, pattern, min_time, foreign, figures, model=None,
                fftw=None):
    """Adds a program's rows to the figures, and where the time of models went."""
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
    with tempfile.TemporaryDirectory() as scratch:
        seen = os.path.join(scratch, "samples")
        if name == "models_bench":
            environment["SEQMIX_BENCH_SAMPLES"] = seen
        done = foreign.run(command, env=environment)
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
            fail(name + " failed")
        start = done.stdout.find("{")
        if start >= 0:  # else no row matches
            result = json.loads(done.stdout[start:])
            figures.add(result)
            figures.add_samples(result["context"]["compiler"], threads, samples.read(seen))


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


def run_model_peers(peers, pattern, threads, foreign, figures):
    """Beside every model and format that has rows: as f32 and, by llama.cpp, in the other formats."""
    for model, (shape, lengths, rivals) in MODELS.items():
        for peer in [p for p in peers if p in rivals and p not in figures.missing]:
            for suffix, options in FORMATS.items():
                if asked_for(pattern, model, suffix) and (peer == "llama" or not suffix):
                    run_model_peer(peer, model, shape, lengths, suffix, options, threads, foreign,
                                   figures)


def run_model_peer(peer, model, shape, lengths, suffix, options, threads, foreign, figures):
    path = (make_model(model_path(model) + "-f32.gguf", "--gguf", "--shape", shape)
            if peer == "llama" else make_model(model_path(model), "--shape", shape))
    done = foreign.run([os.path.join(ROOT, "tools", "peers", peer), "run", path, "--threads",
                        str(threads), "--prefill", *map(str, lengths)] + options)
    if done.returncode != 0:
        figures.missing[peer] = done.stderr.strip().split("\n")[-1]
        say(f"peer {peer}: {figures.missing[peer]}")
        return
    figures.add_peer(peer, model, suffix, json.loads(done.stdout.strip().split("\n")[-1]))


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
                   for isa in ("avx2", "avx512")
                   for causal in ("", "_causal", "_bf16", "_bf16_causal"))]


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
                        run_program(folder, name, count, isa, pattern, min_time, foreign, figures,
                                    model, fftw)
                    if name == "mixers_bench" and folder == builds[0] and attention_tokens(pattern):
                        for peer in [p for p in peers
                                     if p in ATTENTION_PEERS and p not in figures.missing]:
                            run_attention_peer(peer, attention_tokens(pattern), count, foreign,
                                               figures)
                    if name == "models_bench" and folder == builds[0]:
                        run_model_peers(peers, pattern, count, foreign, figures)
                    if keep:
                        figures.finish(foreign)
                        keep(figures)
    figures.finish(foreign)
    return figures
