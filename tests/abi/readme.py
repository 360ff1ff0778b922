"""readme.py ROOT LIBRARY C_COMPILER: the programs in README.md run as they stand there, from the source
folder, with the library of this build in place of build/release/libseqmix.so."""
import os
import re
import subprocess
import sys
import tempfile

from abi_tools import report

root, library, compiler = sys.argv[1:]
with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
    readme = file.read()
problems = []


def block(language):
    """The one block of that language."""
    found = re.findall(r"^```%s\n(.*?)^```$" % language, readme, re.MULTILINE | re.DOTALL)
    if len(found) != 1:
        sys.exit("README.md has %d blocks of %s, expected one" % (len(found), language))
    return found[0]


def run(name, command, wanted):
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode != 0 or wanted not in result.stdout:
        problems.append("%s: exit %d, expected %r in:\n%s%s" % (
            name, result.returncode, wanted, result.stdout, result.stderr))


def run_c(folder):
    """Statements become main; what follows them shows that they did something."""
    lines = block("c").splitlines(keepends=True)
    includes = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    program = os.path.join(folder, "readme")
    with open(program + ".c", "w", encoding="utf-8") as file:
        file.writelines(["#include <stdio.h>\n", *includes, "int main(void) {\n", *body,
                         "int best = 0;\n",
                         "for (int i = 0; i < 256; ++i) best = logits[i] > logits[best] ? i : best;\n",
                         'printf("after ROMEO: comes %d\\n", best);\n', "return 0;\n}\n"])
    built = subprocess.run([compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", program + ".c", "-o",
                            program, "-I", os.path.join(root, "include"), library,
                            "-Wl,-rpath," + os.path.dirname(library)],
                           capture_output=True, text=True, check=False)
    if built.returncode != 0:
        problems.append("C: does not compile:\n" + built.stderr)
        return
    run("C", [program], "after ROMEO: comes 10\n")


def run_python(folder):
    text = block("python")
    if '"build/release/libseqmix.so"' not in text:
        problems.append("Python: does not open build/release/libseqmix.so")
    program = os.path.join(folder, "readme.py")
    with open(program, "w", encoding="utf-8") as file:
        file.write(text.replace("build/release/libseqmix.so", library))
    run("Python", [sys.executable, "-B", program], "? what news? what news?\n\nCORIOLANUS:\n")


with tempfile.TemporaryDirectory(prefix="seqmix_readme_") as temporary:
    run_c(temporary)
    run_python(temporary)
report(problems)
