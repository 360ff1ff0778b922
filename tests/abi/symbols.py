"""symbols.py LIBRARY: it exports the functions of capi/symbols.txt under SEQMIX_0, and nothing else."""
import sys

from abi_tools import nm, report, symbols

NODE = "SEQMIX_0"

expected = {name + "@@" + NODE for name in symbols()}
exported = {name for kind, name in nm(sys.argv[1], "--defined-only")
            if not (kind == "A" and name.split("@")[0] == NODE)}
kinds = {name: kind for kind, name in nm(sys.argv[1], "--defined-only")}
problems = ["not exported: " + name for name in sorted(expected - exported)]
problems += ["exported, not in capi/symbols.txt: " + name for name in sorted(exported - expected)]
problems += ["%s is of kind %s, not a function" % (name, kinds[name])
             for name in sorted(expected & exported) if kinds[name] != "T"]
if len(expected) < 50:
    problems.append("capi/symbols.txt has %d names only" % len(expected))
report(problems)
