"""undefined.py LIBRARY ALLOWED: what the library asks of the system is in the checked-in list.

The list has a line for each symbol, or shell pattern of symbols, and the reason why it may be there.
Names that stop the program, print, or bring a second thread runtime are refused whatever it says.
"""
import fnmatch
import re
import sys

from abi_tools import nm, report, sanitized, skip

FORBIDDEN = """
abort exit _exit _Exit quick_exit __assert_fail __assert_perror_fail raise kill
printf fprintf dprintf vprintf vfprintf vdprintf puts putchar putc fputs fputc perror fwrite
__printf_chk __fprintf_chk __dprintf_chk __vprintf_chk __vfprintf_chk psignal syslog
stdout stderr _ZSt4cerr _ZSt4cout _ZSt4clog _ZSt5wcerr _ZSt5wcout _ZSt5wclog
_ZNSt8ios_base4Init*
GOMP_* omp_* __kmpc_* openblas_* cblas_*
setjmp _setjmp __sigsetjmp longjmp signal sigaction system popen setlocale srand rand
""".split()

library, allowed_path = sys.argv[1:3]
if sanitized(library):
    skip("the library is built with a sanitizer, which brings its own symbols")

allowed, problems = {}, []
with open(allowed_path) as lines:
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\n")
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(None, 1)
        if len(words) != 2:
            problems.append("%s:%d: '%s' has no reason" % (allowed_path, number, line))
        allowed[words[0]] = number

used = set()
for kind, name in nm(library, "--undefined-only"):
    bare = re.sub(r"@.*", "", name)
    if any(fnmatch.fnmatchcase(bare, pattern) for pattern in FORBIDDEN):
        problems.append("forbidden: " + name)
        continue
    matching = [p for p in allowed if fnmatch.fnmatchcase(bare, p)]
    used.update(matching)
    if not matching:
        problems.append("not in the list: " + name)
if "--unused" in sys.argv:
    for pattern in allowed:
        if pattern not in used:
            print("%s:%d: nothing matches %s here" % (allowed_path, allowed[pattern], pattern))
report(problems)
