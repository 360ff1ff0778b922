"""What bench/support/sampler.cpp saw, by kind of work: the names of the library's functions say which."""
import bisect
import json
import re
import subprocess

KINDS = (("products", r"GemmArgs|::multiply_|::pack_as|::copy_edge"),
         ("scan", r"SelectiveScanArgs|for_each_channel_block"),
         ("convolution", r"Conv1dArgs"),
         ("norm", r"NormArgs"),
         ("residual", r"::add\("))


def kind_of(function):
    for kind, pattern in KINDS:
        if re.search(pattern, function):
            return kind
    return "rest"


def functions(library):
    """(addresses, kinds) of the library's functions, by address."""
    done = subprocess.run(["nm", "-C", "-n", "--defined-only", library], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    found = [line.split(" ", 2) for line in done.stdout.split("\n") if " " in line]
    found = [(int(at, 16), kind_of(name)) for at, kind, name in found if kind in "tTwW"]
    return [at for at, _ in found], [kind for _, kind in found]


def read(path):
    """Row -> {kind: samples}; empty where nothing was written."""
    tables, rows = {}, {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
    except OSError:
        return rows
    for line in lines:
        if line["library"] not in tables:
            tables[line["library"]] = functions(line["library"])
        addresses, kinds = tables[line["library"]]
        counts = rows.setdefault(line["row"], {})
        if line["elsewhere"]:
            counts["rest"] = counts.get("rest", 0) + line["elsewhere"]
        for at, number in line["samples"].items():
            i = bisect.bisect_right(addresses, int(at)) - 1
            kind = kinds[i] if i >= 0 else "rest"
            counts[kind] = counts.get(kind, 0) + number
    return rows
