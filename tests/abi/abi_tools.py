"""What the script tests of this folder share: skips, the symbol list, nm."""
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def skip(reason):
    """Status 77 is CTest's SKIP_RETURN_CODE here; with SEQMIX_REQUIRE_DATA=1 it is a failure."""
    print("SKIP: " + reason)
    sys.exit(1 if os.environ.get("SEQMIX_REQUIRE_DATA") == "1" else 77)


def symbols():
    """The names in capi/symbols.txt."""
    names = []
    with open(os.path.join(ROOT, "capi", "symbols.txt")) as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                names.append(line.split()[0])
    return names


def need(tool):
    path = shutil.which(tool)
    if path is None:
        skip(tool + " is not installed")
    return path


def nm(library, *options):
    """Lines of nm -D as (type letter, name@version)."""
    output = subprocess.run([need("nm"), "-D", "--with-symbol-versions", *options, library],
                            check=True, capture_output=True, text=True).stdout
    entries = []
    for line in output.splitlines():
        words = line.split()
        if len(words) >= 2:
            entries.append((words[-2], words[-1]))
    return entries


def sanitized(library):
    return any(name.startswith(("__asan_", "__tsan_", "__msan_", "__ubsan_"))
               for _, name in nm(library, "--undefined-only"))


def report(problems):
    for problem in problems:
        print(problem)
    if not problems:
        print("ok")
    sys.exit(1 if problems else 0)
