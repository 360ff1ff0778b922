"""api_json.py CC: seqmix.api.json is up to date and complete, and a compiler agrees with every size,
offset, value and signature that tools/api_json read out of the header; and seqmix.hpp reaches every
function."""
import os
import re
import subprocess
import sys
import tempfile

from abi_tools import ROOT, report, symbols

tool = os.path.join(ROOT, "tools", "api_json")
problems = []
checked = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True)
print(checked.stdout, end="")
if checked.returncode != 0:
    problems.append("tools/api_json --check failed " + checked.stderr)
asserts = subprocess.run([sys.executable, tool, "--asserts"], capture_output=True, text=True)
if asserts.returncode != 0 or "_Static_assert(sizeof(seqmix_tensor)" not in asserts.stdout:
    problems.append("tools/api_json --asserts failed " + asserts.stderr)
else:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "asserts.c")
        with open(path, "w") as file:
            file.write(asserts.stdout)
        result = subprocess.run(
            [sys.argv[1], "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
             "-I" + os.path.join(ROOT, "include"), path], capture_output=True, text=True)
        if result.returncode != 0:
            problems.append(result.stderr)
with open(os.path.join(ROOT, "include", "seqmix", "seqmix.hpp")) as file:
    wrapper = file.read()
problems += ["seqmix.hpp does not reach " + name for name in symbols()
             if not re.search(r"\b%s\(" % name, wrapper)]
report(problems)
