"""link_all.py CC CXX INCLUDE SHARED STATIC: a C program that takes the address of every function of
capi/symbols.txt, declared by seqmix.h, links with each library and runs."""
import os
import subprocess
import sys
import tempfile

from abi_tools import report, symbols

cc, cxx, include, shared, static = sys.argv[1:6]
source = "#include <seqmix/seqmix.h>\n#include <stdio.h>\ntypedef void (*any_function)(void);\n"
source += "static any_function const all[] = {\n"
source += "".join("    (any_function)%s,\n" % name for name in symbols())
source += "};\nint main(void) {\n    size_t i, n = sizeof all / sizeof all[0];\n"
source += "    for (i = 0; i < n; ++i) {\n        if (all[i] == NULL) return 1;\n    }\n"
source += "    printf(\"%d %s\\n\", (int)n, seqmix_version_string());\n    return 0;\n}\n"

problems = []
with tempfile.TemporaryDirectory() as folder:
    def run(*command, **more):
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder, **more)
        if result.returncode != 0:
            problems.append("%s\n%s%s" % (" ".join(command), result.stdout, result.stderr))
        return result

    with open(os.path.join(folder, "all.c"), "w") as file:
        file.write(source)
    compiled = run(cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-I" + include, "-c", "all.c")
    if compiled.returncode == 0:
        flags = os.environ.get("SEQMIX_TEST_LINK_FLAGS", "").split()
        directory = os.path.dirname(os.path.abspath(shared))
        linked = run(cc, *flags, "all.o", "-Wl,--no-undefined", shared,
                     "-Wl,-rpath," + directory, "-o", "shared")
        if linked.returncode == 0:
            out = run("./shared").stdout
            print("shared: " + out, end="")
            if not out.startswith("%d " % len(symbols())):
                problems.append("the program says " + out)
        if os.path.exists(static):
            linked = run(cxx, *flags, "all.o", static, "-Wl,--no-undefined", "-pthread", "-o",
                         "static")
            if linked.returncode == 0:
                print("static: " + run("./static").stdout, end="")
        else:
            print("no static library in this build")
report(problems)
