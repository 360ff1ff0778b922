"""header.py INCLUDE COMPILER...: the headers alone compile, without a warning, in every language
version that the compiler knows: seqmix.h as C99 to C23 and C++11 to C++20, seqmix.hpp as C++17 and 20.

COMPILER is cc:c++; the first pair whose programs are there is used, none is a skip.
"""
import os
import shutil
import subprocess
import sys
import tempfile

from abi_tools import report, skip

include = sys.argv[1]
pairs = [pair.split("::") for pair in sys.argv[2:]]
found = [(cc, cxx) for cc, cxx in pairs if shutil.which(cc) and shutil.which(cxx)]
if not found:
    skip("none of %s is installed" % ", ".join(cc for cc, _ in pairs))
cc, cxx = found[0]

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-pedantic-errors", "-Wconversion", "-Wshadow",
            "-Wundef", "-Werror", "-fsyntax-only", "-I" + include]
C_WARNINGS = ["-Wstrict-prototypes", "-Wmissing-prototypes", "-Wc++-compat"]
# The header alone must do, and a second inclusion must change nothing.
TWICE = "#include <seqmix/%s>\n#include <seqmix/%s>\n"
# NULL is promised by stddef.h; a trailing use makes sure that something was declared.
USE = "%s\nseqmix_status use(seqmix_layer *layer);\nseqmix_status use(seqmix_layer *layer) {\n" \
      "    return seqmix_layer_forward(layer, NULL, NULL, 0, NULL);\n}\n"

problems, done = [], 0
with tempfile.TemporaryDirectory() as folder:
    cases = [(cc, std, "seqmix.h", "c", C_WARNINGS) for std in ("c99", "c11", "c17", "c2x", "gnu17")]
    cases += [(cxx, std, "seqmix.h", "cpp", []) for std in ("c++11", "c++14", "c++17", "c++20")]
    cases += [(cxx, std, "seqmix.hpp", "cpp", []) for std in ("c++17", "c++20")]
    for compiler, std, header, suffix, more in cases:
        path = os.path.join(folder, "header." + suffix)
        with open(path, "w") as file:
            file.write(USE % (TWICE % (header, header)))
        command = [compiler, "-std=" + std, *WARNINGS, *more, path]
        for defines in ([], ["-DSEQMIX_STATIC"]):
            result = subprocess.run(command + defines, capture_output=True, text=True)
            done += 1
            if result.returncode != 0:
                problems.append("%s\n%s" % (" ".join(command + defines), result.stderr))
print("%s, %s: %d compilations" % (cc, cxx, done))
report(problems)
