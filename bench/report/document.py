"""Writes docs/performance.md and docs/roofline.svg from one run's figures."""
import datetime
import os
import platform
import re
import shutil
import subprocess

from report import bars, parts, roofline
from report.measure import ROOT

# Why a bar is short, by the bar's key: said beside the figures of whoever's machine. Only what was
# measured or follows from counting.
NOTES = {
    "core": "A state update is counted as 9 instructions for the FMA pipes. Where `vreduceps` and "
            "`vscalefps` share these pipes (Intel's cores) it takes 11, and the limit cannot be "
            "reached beyond 0.82.",
    "fused": "As the core; softplus and the gate are 32 more such instructions per token and channel.",
    "one_token": "A call turns A, and the state in and out, from channels to lanes: three passes over "
                 "100 KB, twice the time of the scan itself; checking the arguments takes 1 us.",
    "n1": "With one state nothing but softplus, gate and the arrays' way through memory is left.",
    "gemm": "The limit is the bare FMA rate, which the register tile alone reaches to 0.93. Packing "
            "stored weights takes 3 %; the rest is page walks and stores, more of them where the "
            "rows of the result are not whole cache lines (lm_head). In int8, x_proj is bound by reading "
            "3 MB of activations and dt_proj by writing 3 MB, which takes two to three times their "
            "arithmetic; fetching the results' lines ahead gained nothing.",
    "gemm_threads": "Two threads share the memory's bandwidth.",
    "gemm16": "16 rows use every weight 16 times only: where the weights are not in a cache, reading "
              "them (154 MB of lm_head, at the rate of the table above) takes longer than the "
              "arithmetic.",
    "glue": "The limits are those of arrays in the caches; a step of 512 tokens hands on arrays of 3 and "
            "6 MB.",
    "prefill": "Between the products are scan, convolution and norms, whose time is not in the "
               "count of 179 MFLOP a token.",
    "decode": "All the weights are read once per token; what is short is time in which memory "
              "is not read.",
    "conv": "A copy that stays in the caches is made of loads and stores alone; SiLU takes 20 "
            "instructions for each of them.",
    "gemv": "The smallest of these products takes 10 us on two threads, of which handing over the "
            "work is 0.6 us; x_proj has 80 outputs, of which one thread gets 48. Rows of dt_proj in bf16 are "
            "one tile of AMX and a half, which is copied; fetching weights ahead of the tiles made them "
            "slower (0.91).",
    "peer_decode": "Decode is bound by reading the weights, for the peer as well: where its own share of "
                   "the limit is high, the ratio at the limit (in brackets) is all that is to be had.",
    "attention": "Maxima, powers and masks of the scores are not in the count, and what a panel of queries "
                 "works on (68 KB) exceeds the first-level cache.",
    "attention_bf16": "Where a mask hides half of the keys, packing them and moving queries and results weigh "
                      "twice as much.",
    "attention_threads": "Two threads need two cores to themselves.",
    "linear": "A thousand tokens of 64 channels are in a cache, a million come from memory: the faster "
              "the scan, the more that shows.",
    "threads": "Two threads need two cores to themselves.",
    "prefill_threads": "Two threads need two cores to themselves.",
}
LOADED = 0.2  # foreign cores above which the figures come with a warning


def first_line(path, key):
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith(key):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "?"


def caches():
    found = []
    for name, what in (("LEVEL1_DCACHE_SIZE", "L1d"), ("LEVEL2_CACHE_SIZE", "L2"),
                       ("LEVEL3_CACHE_SIZE", "L3")):
        done = subprocess.run(["getconf", name], stdout=subprocess.PIPE, text=True, check=False)
        size = done.stdout.strip()
        if size.isdigit() and int(size):
            size = int(size)
            found.append(f"{what} {size // 1024} KB" if size < 1 << 20
                         else f"{what} {size >> 20} MB")
    return ", ".join(found)


def commit():
    if shutil.which("git") is None:
        return "?"
    done = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%h"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() or "?"


def describe_machine():
    """What goes with the figures; kept with them, since the document may be written later."""
    return {"cpu": first_line("/proc/cpuinfo", "model name"),
            "family": first_line("/proc/cpuinfo", "cpu family") + "/"
            + first_line("/proc/cpuinfo", "model\t"),
            "virtual": "hypervisor" in first_line("/proc/cpuinfo", "flags"),
            "cores": os.cpu_count(), "caches": caches(), "system": platform.release(),
            "date": datetime.date.today().isoformat(), "commit": commit()}


def limits_table(figures):
    lines = ["| compiler | threads | FMA AVX-512, AVX2 (per thread) | memory read, copy | valid |",
             "|---|---|---|---|---|"]
    for (compiler, threads), context in sorted(figures.contexts.items()):
        wide, narrow = (context[key].replace(" per thread", "").replace(" GFLOP/s", "")
                        for key in ("fma_avx512", "fma_avx2"))
        read, copy = (context[key].replace(" GB/s", "") for key in ("memory_read", "memory_copy"))
        lines.append(f"| {compiler} | {threads} | {wide}, {narrow} GFLOP/s | {read}, {copy} GB/s | "
                     f"{context['limits_valid']}: {context['limits_note']} |")
    return lines


def bars_table(check):
    """A line per bar, a column per compiler."""
    compilers = check.figures.compilers()
    lines = ["| bar | threads | required | " + " | ".join(compilers) + " |",
             "|---|---|---|" + "---|" * len(compilers)]
    grouped = {}
    for bar in check.bars:
        if bar.key != "gcc":
            grouped.setdefault((bar.what, bar.threads), {})[bar.compiler] = bar
    for (what, threads), found in grouped.items():
        one = next(iter(found.values()))
        cells = []
        for compiler in compilers:
            bar = found.get(compiler)
            cells.append("-" if bar is None or bar.figure is None else
                         bars.number(bar.figure) + ("" if bar.state == "pass" else
                                                    f" **{bar.state}**"))
        lines.append(f"| {what} | {threads} | {'<=' if one.most else '>='} {bars.number(one.need)} | "
                     + " | ".join(cells) + " |")
    for bar in check.bars:
        if bar.key == "gcc":
            lines += ["", f"{bar.what}, {bar.threads} thread(s): {bar.text()}, {bar.state}."]
    return lines


def rows_table(figures):
    peers = list(figures.peer_versions())
    if any("fftw" in row["vs_peer"] for row in figures.rows.values()):
        peers.append("fftw")
    lines = ["| row | threads | compiler | GFLOP/s | GB/s | of_limit | vs_plain |"
             + "".join(f" vs {peer} |" for peer in peers),
             "|---|---|---|---|---|---|---|" + "---|" * len(peers)]

    def figure(value, digits):
        return "" if value is None else f"{value:.{digits}f}"

    for row in figures.rows.values():
        lines.append(f"| {row['name']} | {row['threads']} | {row['compiler']} | {row['gflops']:.1f} | "
                     f"{row['gbytes']:.1f} | {figure(row['of_limit'], 2)} | "
                     f"{figure(row['vs_plain'], 1)} |"
                     + "".join(f" {figure(row['vs_peer'].get(peer), 2)} |" for peer in peers))
    return lines


def short_list(check):
    lines = []
    short = [bar for bar in check.bars if bar.state in ("short", "void")]
    for key in dict.fromkeys(bar.key for bar in short):
        found = [bar for bar in short if bar.key == key]
        for what in dict.fromkeys(bar.what for bar in found):
            figures = "; ".join(f"{bar.compiler}, {bar.threads} thr: {bar.text()}"
                                for bar in found if bar.what == what)
            lines.append(f"- {what}: {figures}.")
        if key in NOTES:
            lines.append(f"  {NOTES[key]}")
    return lines or ["None."]


def roofline_points(figures, compiler):
    def product(what, rows):
        return "gemm" + parts.product(what, rows)

    wanted = [("scan", "scan core, T2048 D1536 N16", bars.CORE),
              ("scan", "scan fused, the same", bars.FUSED),
              ("scan", "scan, one token", bars.ONE_TOKEN),
              ("convolution", "convolution 4 + SiLU", bars.CONV.format(2048)),
              ("product", "in_proj, M=512", product("in_proj", 512)),
              ("product", "out_proj, M=512", product("out_proj", 512)),
              ("product", "x_proj, M=512", product("x_proj", 512)),
              ("product", "dt_proj (K=48), M=512", product("dt_proj", 512)),
              ("product", "in_proj, M=16", product("in_proj", 16)),
              ("product", "in_proj, M=1, cold", product("in_proj", 1)),
              ("product", "lm_head, M=1, cold", product("lm_head", 1)),
              ("model", "mamba-130m prefill 2048", bars.MODEL.format("prefill", 2048)),
              ("model", "mamba-130m decode", bars.MODEL.format("decode", 1))]
    points = []
    for group, label, name in wanted:
        row = figures.row(compiler, 1, name)
        if not row:
            continue
        flops = row["flops"]
        if name.endswith("decode/mamba-130m_T1"):
            flops = row["bytes"] / 2  # with the head: two flops a weight
        share = f"{row['of_limit']:.2f}" if row["of_limit"] else "-"
        points.append((group, f"{label}: {share} of its limit", flops / row["bytes"],
                       flops / row["time_us"] * 1e-3))
    return points


def write(figures, machine):
    check = bars.Check(figures)
    compiler = figures.compilers()[0]
    context = figures.contexts[(compiler, 1)] if (compiler, 1) in figures.contexts else None
    if context:
        rates = [float(context[key].split()[0]) for key in ("fma_avx512", "fma_avx2", "memory_read")]
        picture = roofline.draw(f"One thread, {check.machine} machine, {compiler}",
                                roofline_points(figures, compiler), *rates)
        with open(os.path.join(ROOT, "docs", "roofline.svg"), "w", encoding="utf-8") as file:
            file.write(picture)
    by_part = parts.section(figures, compiler)
    if by_part:
        with open(os.path.join(ROOT, "docs", "parts.svg"), "w", encoding="utf-8") as file:
            file.write(parts.draw(figures, compiler))
    where = f"{machine['cpu']} (family/model {machine['family']}), {machine['cores']} cores"
    if machine["virtual"]:
        where += " of a virtual machine"
    states = [bar.state for bar in check.bars]
    busy = figures.foreign + figures.stolen
    lines = [
        "# Performance", "",
        "Written by `tools/bench --report`; do not edit. Times move by tens of per cent from machine to "
        "machine and from", "minute to minute: what is said here are ratios taken in one run, "
        "against limits measured in the same process", "(`of_limit`), a plain loop in the same "
        "process (`vs_plain`, `bench/plain/`), and other libraries in the same run", "(`vs_peer`).",
        "Nothing here is a promise for another machine: run `tools/bench --check` there.", "",
        "## The run", "",
        f"- Machine: {where}; {machine['caches']}; Linux {machine['system']}. Kind: "
        f"**{check.machine}** (AVX-512 FMA {'>=' if check.machine == 'wide' else '<'} 1.5 x AVX2 FMA).",
        f"- Compilers: {', '.join(figures.compilers())}. Commit {machine['commit']}, "
        f"{machine['date']}. {figures.rounds} rounds, best of each side.",
        f"- Foreign use of the CPU while it ran: {figures.foreign:.2f} cores by other programs, "
        f"{figures.stolen:.2f} taken by the host.",
    ]
    if busy > LOADED:
        lines += ["", f"**The machine was busy ({busy:.2f} of {machine['cores']} cores used by others). "
                  "Two-thread rows and everything bound by memory are", "lower than on an idle "
                  "machine; the figures say what was measured, not what the code can do.**"]
    for peer, version in figures.peer_versions().items():
        lines.append(f"- Peer {peer}: {version}.")
    for peer, reason in figures.missing.items():
        lines.append(f"- Peer {peer} could not be had: {reason}")
    lines += ["", "## Limits", "", *limits_table(figures), "",
              "The FMA probe is valid if 256-bit FMA reaches 1.9 per cycle and 512-bit FMA 1.9 (wide) or "
              "0.95 (narrow); the cycle is", "that of a chain of dependent additions. Memory is "
              "read and copied in arrays that no cache holds; a row's own limit has", "arrays of "
              "the row's sizes and takes turns with it.", "",
              "![Roofline](roofline.svg)", "",
              *by_part, "",
              "## The bars", "",
              ", ".join(f"{states.count(state)} {state}" for state in ("pass", "short", "void", "none")
                        if states.count(state)) + ".", "",
              *bars_table(check), "", "## What is short, and why", "", *short_list(check), "",
              "## All rows", "",
              "Names: type, instruction set level, phase, shape. A core scan has no softplus, skip or gate; "
              "its plain loop has.", "", *rows_table(figures), "",
              "`of_limit` of a scan counts instructions for the FMA pipes: 9 per 16 state updates "
              "with AVX-512, 13 per 8 with AVX2,", "and 32 per token and channel for the fused "
              "form (`src/mixers/selective_scan/cases.cpp`). A product counts 2MNK flops;",
              "a model's prefill counts its projections without the head, its decode the bytes of "
              "all weights. The convolution is", "compared with a copy of the same arrays."]
    path = os.path.join(ROOT, "docs", "performance.md")
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"[ \t]+\n", "\n", "\n".join(lines)) + "\n")
    return path
