"""Breaks each rule of tools/check once in a small tree and expects the finding.

usage: python3 tests/tools/test_check.py
"""
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOADER = importlib.machinery.SourceFileLoader("check", os.path.join(ROOT, "tools", "check"))
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", LOADER))
LOADER.exec_module(check)

# The smallest tree that breaks no rule.
CLEAN = {
    "CMakeLists.txt": "# never -ffast-math\nproject(x)\n",
    "README.md": "# x\n",
    "include/seqmix/seqmix.h": "#define SEQMIX_API\nSEQMIX_API int seqmix_version(void);\n",
    "capi/symbols.txt": "# names\nseqmix_version 0.1\n",
    "capi/version.cpp": '#include "seqmix/seqmix.h"\n\n#include "models/stack.h"\n',
    "cli/main.cpp": '#include <seqmix/seqmix.h>\n#include <cstdio>\n\n#include "files.h"\n'
                    'int main() { std::printf("x"); }\n',
    "cli/files.h": "#pragma once\n",
    "src/base/status.h": '#pragma once\n#include "seqmix/seqmix.h"\n',
    "src/base/isa_safe.h": "#pragma once\n#include <cstddef>\n",
    "src/simd/vec.h": '#pragma once\n#include <immintrin.h>\n\n#include "base/isa_safe.h"\n',
    "src/parallel/pool.cpp": "#include <thread>\nstd::thread worker;\n",
    "src/primitives/norm/kernel.h": "#pragma once\n#include <cstdint>\n",
    "src/primitives/norm/kernel.cpp":
        '#include "primitives/norm/kernel.h"\n\n#include "simd/vec.h"\n// mamba uses it\n',
    "src/contract/mixer.h": '#pragma once\n#include "base/status.h"\n',
    "src/mixers/mixers.inc": "SEQMIX_MIXER(mamba, mamba)\nSEQMIX_MIXER(leaky, leaky)\n",
    "src/runtime/registry.cpp": '#include "contract/mixer.h"\n',
    "src/models/stack.h": '#pragma once\n#include "contract/mixer.h"\n',
    "tools/run": "#!/usr/bin/env bash\necho yes\n",
    "tools/show.py": "print('yes')\n",
}
for mixer in ("mamba", "leaky"):
    CLEAN.update({
        f"src/mixers/{mixer}/{mixer}.h": "#pragma once\n",
        f"src/mixers/{mixer}/{mixer}.cpp":
            f'#include "mixers/{mixer}/{mixer}.h"\n\n#include "contract/mixer.h"\n',
        f"src/mixers/{mixer}/reference.cpp":
            f'#include "mixers/{mixer}/{mixer}.h"\n\n#include <cmath>\n',
        f"src/mixers/{mixer}/cases.cpp": '#include "contract/mixer.h"\n',
    })


class TreeCase(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="seqmix_check_")
        self.addCleanup(shutil.rmtree, self.root)

    def make(self, changes):
        """A new tree: the clean one with files changed, added, or (None) left out."""
        shutil.rmtree(self.root)
        os.mkdir(self.root)
        for name, content in {**CLEAN, **changes}.items():
            path = os.path.join(self.root, name)
            if content is None:
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
            first = content[:2]
            os.chmod(path, 0o755 if first == "#!" else 0o644)
        return check.Tree(self.root)

    def findings(self, rule, changes):
        return [str(finding) for finding in rule(self.make(changes))]

    def expect(self, rule, changes, *parts):
        """Exactly one finding, and it holds every part."""
        found = self.findings(rule, changes)
        self.assertEqual(len(found), 1, found)
        for part in parts:
            self.assertIn(part, found[0])

    def expect_none(self, rule, changes):
        self.assertEqual(self.findings(rule, changes), [])


class CleanTree(TreeCase):
    def test_no_rule_speaks(self):
        tree = self.make({})
        for rule in check.RULES:
            self.assertEqual([str(f) for f in rule(tree)], [], rule.__name__)

    def test_every_rule_is_listed_and_documented(self):
        written = {name for name in dir(check) if name.startswith("rule_")}
        self.assertEqual(written, {rule.__name__ for rule in check.RULES})
        for rule in check.RULES:
            self.assertTrue(rule.__doc__, rule.__name__)

    @unittest.skipUnless(shutil.which("git"), "git is not installed")
    def test_git_lists_new_files_and_not_ignored_ones(self):
        self.make({".gitignore": "skipped/\n", "skipped/x.cpp": "#if 0\n"})
        subprocess.run(["git", "init", "-q", self.root], check=True)
        files = check.Tree(self.root).files
        self.assertIn("src/base/status.h", files)
        self.assertNotIn("skipped/x.cpp", files)

    def test_program_exit_codes(self):
        self.make({})
        run = [sys.executable, os.path.join(ROOT, "tools", "check"), "--root", self.root]
        # Without .clang-format in the tree the format check would judge by another style.
        environment = {**os.environ, "PATH": os.path.join(self.root, "bin")}
        os.makedirs(environment["PATH"])
        os.symlink(shutil.which("bash"), os.path.join(environment["PATH"], "bash"))
        result = subprocess.run(run, env=environment, stdout=subprocess.PIPE, check=False)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn(b"format not checked", result.stdout)
        result = subprocess.run([*run, "--require"], env=environment, stdout=subprocess.PIPE,
                                check=False)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn(b"clang-format is not installed", result.stdout)


class Includes(TreeCase):
    def test_upwards(self):
        self.expect(check.rule_include_direction,
                    {"src/base/status.h": '#pragma once\n#include "contract/mixer.h"\n'},
                    "src/base/status.h:2: include-direction", "base must not include contract")

    def test_sideways(self):
        self.expect(check.rule_include_direction,
                    {"src/simd/vec.h": '#include "parallel/pool.h"\n'}, "simd must not include")

    def test_runtime_is_above_mixers(self):
        self.expect(check.rule_include_direction,
                    {"src/mixers/leaky/leaky.cpp": '#include "runtime/layer.h"\n'},
                    "mixers must not include runtime")

    def test_relative_path_upwards(self):
        self.expect(check.rule_include_direction,
                    {"src/base/status.h": '#include "../contract/mixer.h"\n'},
                    "base must not include contract")

    def test_comment_is_no_include(self):
        self.expect_none(check.rule_include_direction,
                         {"src/base/status.h": '/*\n#include "contract/mixer.h"\n*/\n'})

    def test_library_and_hpp(self):
        self.expect(check.rule_include_direction,
                    {"src/runtime/registry.cpp": '#include "seqmix/seqmix.hpp"\n'}, "seqmix.hpp")

    def test_library_and_tests(self):
        self.expect(check.rule_include_direction,
                    {"src/runtime/registry.cpp": '#include "../../tests/x.h"\n',
                     "tests/x.h": "\n"}, "does not include tests/x.h")

    def test_mixers_apart(self):
        self.expect(check.rule_mixers_apart,
                    {"src/mixers/leaky/leaky.cpp": '#include "mixers/mamba/mamba.h"\n'},
                    "src/mixers/leaky/leaky.cpp:1: mixers-apart", "mixer leaky includes")
        self.expect(check.rule_mixers_apart,
                    {"src/mixers/leaky/leaky.cpp": '#include "../mamba/mamba.h"\n'}, "mixer leaky")

    def test_cli_is_a_client(self):
        self.expect(check.rule_client_includes,
                    {"cli/main.cpp": '#include "base/status.h"\n'},
                    "cli/main.cpp:1: client-includes", "not public")
        self.expect(check.rule_client_includes,
                    {"cli/main.cpp": '#include "../src/base/status.h"\n'}, "not public")

    def test_examples_may_use_hpp_and_cli_not(self):
        hpp = {"include/seqmix/seqmix.hpp": "\n"}
        self.expect_none(check.rule_client_includes,
                         {**hpp, "examples/cpp/a.cpp": "#include <seqmix/seqmix.hpp>\n"})
        self.expect(check.rule_client_includes,
                    {**hpp, "cli/main.cpp": "#include <seqmix/seqmix.hpp>\n"}, "not public")

    def test_reference_shares_nothing(self):
        self.expect(check.rule_reference_includes,
                    {"src/mixers/mamba/reference.cpp": "#include <vector>\n"}, "vector")
        self.expect(check.rule_reference_includes,
                    {"src/mixers/mamba/reference.cpp": '#include "contract/mixer.h"\n'},
                    "contract/mixer.h")
        self.expect(check.rule_reference_includes,
                    {"src/primitives/norm/reference.h": '#include "kernel.h"\n'}, "kernel.h")

    def test_kernel(self):
        kernel = "src/primitives/norm/kernel.cpp"
        self.expect(check.rule_kernel_includes, {kernel: "#include <algorithm>\n"},
                    kernel + ":1: kernel-includes", "algorithm")
        self.expect(check.rule_kernel_includes, {kernel: '#include "base/status.h"\n'},
                    "base/status.h")
        self.expect(check.rule_kernel_includes,
                    {"src/primitives/norm/kernel_avx512.cpp": "#include <vector>\n"}, "vector")

    def test_kernel_through_its_header(self):
        self.expect(check.rule_kernel_includes,
                    {"src/primitives/norm/kernel.h": "#pragma once\n#include <string>\n"},
                    "src/primitives/norm/kernel.h:2", "string")

    def test_kernel_through_its_parts(self):
        self.expect(check.rule_kernel_includes,
                    {"src/primitives/norm/kernel.cpp": '#include "primitives/norm/kernel_part.h"\n',
                     "src/primitives/norm/kernel_part.h": "#pragma once\n#include <string>\n"},
                    "src/primitives/norm/kernel_part.h:2", "string")

    def test_kernel_through_simd(self):
        self.expect(check.rule_kernel_includes,
                    {"src/simd/vec.h": "#include <cmath>\n"}, "src/simd/vec.h:1", "cmath")


class Names(TreeCase):
    def test_primitive_knows_a_mixer(self):
        self.expect(check.rule_primitives_nameless,
                    {"src/primitives/norm/kernel.cpp": "int leaky;\n"}, "knows the mixer 'leaky'")

    def test_registered_name_counts_too(self):
        self.expect(check.rule_primitives_nameless,
                    {"src/mixers/mixers.inc": "SEQMIX_MIXER(mamba_op)\n",
                     "src/primitives/norm/kernel.cpp": "int mamba_op;\n"}, "'mamba_op'")

    def test_file_names(self):
        self.expect(check.rule_file_names, {"src/base/FooBar.cpp": ""}, "FooBar.cpp", "snake_case")
        self.expect(check.rule_file_names, {"tests/foo-bar.cpp": ""}, "snake_case")
        self.expect(check.rule_file_names, {"src/Base/foo.cpp": ""}, "folder names")

    def test_symbols(self):
        self.expect(check.rule_c_symbols, {"capi/symbols.txt": "mix_version 0.1\n"},
                    "capi/symbols.txt:1: c-symbols")
        self.expect(check.rule_c_symbols,
                    {"include/seqmix/seqmix.h": "SEQMIX_API const char *mix_name(void);\n"},
                    "mix_name is not seqmix_*")
        self.expect(check.rule_c_symbols, {"include/seqmix/seqmix.h": "#define MIX 1\n"},
                    "public macro MIX")


class Forbidden(TreeCase):
    def test_calls(self):
        for call in ("std::abort()", "exit(1)", "std::terminate()", 'std::printf("x")',
                     'fprintf(stderr, "x")', "puts(p)", "std::cerr << 1", "std::cout << 1",
                     "assert(a)", "std::rand()", "rand()", "srand(1)", 'system("x")',
                     "std::thread t", "std::jthread t", "std::async(f)", "pthread_create(a)"):
            with self.subTest(call):
                self.expect(check.rule_forbidden_calls,
                            {"src/runtime/registry.cpp": f"void f() {{\n    {call};\n}}\n"},
                            "src/runtime/registry.cpp:2: forbidden-calls")

    def test_what_only_looks_like_one(self):
        for code in ("static_assert(true)", "snprintf(b, n, f)", "pool.exit(1)", "p->abort()",
                     "my_exit(1)", "// abort()", 'const char* s = "abort()"',
                     "std::thread::hardware_concurrency()", "operand(1)", "/* exit(1)\n exit(2) */",
                     'const char* s = R"(exit(1))"', "int n = 1'000; // exit(1'0)"):
            with self.subTest(code):
                self.expect_none(check.rule_forbidden_calls,
                                 {"src/runtime/registry.cpp": f"{code};\n"})

    def test_the_program_may_print(self):
        self.expect_none(check.rule_forbidden_calls, {"cli/main.cpp": 'int x = std::puts("x");\n'})

    def test_getenv_in_two_files(self):
        self.expect_none(check.rule_forbidden_calls, {"src/base/a.cpp": 'auto p = getenv("A");\n'})
        found = self.findings(check.rule_forbidden_calls,
                              {"src/base/a.cpp": 'auto p = getenv("A");\n',
                               "capi/b.cpp": 'auto p = std::getenv("B");\n'})
        self.assertEqual(len(found), 2, found)
        self.assertIn("getenv belongs in one file", found[0])

    def test_if_0(self):
        self.expect(check.rule_dead_code, {"tests/a.cpp": "\n# if 0\n#endif\n"},
                    "tests/a.cpp:2: dead-code")

    def test_plain_loops_of_benches_are_native(self):
        self.expect_none(check.rule_build_flags, {"bench/CMakeLists.txt": "x(-march=native)\n"})
        self.expect(check.rule_build_flags, {"cli/CMakeLists.txt": "x(-march=native)\n"}, "native")

    def test_flags(self):
        self.expect(check.rule_build_flags, {"cmake/flags.cmake": "add(-ffast-math)\n"},
                    "cmake/flags.cmake:1: build-flags")
        self.expect(check.rule_build_flags,
                    {"CMakePresets.json": '{"CMAKE_CXX_FLAGS": "-march=native"}\n'}, "-march=native")


class Sizes(TreeCase):
    def test_long_files(self):
        self.expect(check.rule_file_size, {"src/base/long.cpp": "\n" * 801}, "801 lines")
        self.expect(check.rule_file_size, {"src/primitives/norm/kernel.cpp": "\n" * 301},
                    "more than 300")
        self.expect(check.rule_file_size, {"src/mixers/mamba/mamba.h": "\n" * 121}, "more than 120")

    def test_a_reason_serves(self):
        self.expect_none(check.rule_file_size,
                         {"src/base/long.cpp": "// size: one table\n" + "\n" * 801})
        self.expect(check.rule_file_size, {"src/base/long.cpp": "// size:\n" + "\n" * 801},
                    "802 lines")

    def test_big_file(self):
        self.expect(check.rule_big_files, {"models/x.bin": b"\0" * 4_000_001}, "models/x.bin")
        self.expect(check.rule_big_files, {"kernel.o": b"\0"}, "product of a build")

    def test_machine_path(self):
        for place in ("work", "root", "home/someone"):
            with self.subTest(place):
                self.expect(check.rule_machine_paths, {"README.md": f"\nsee /{place}/x\n"},
                            "README.md:2: machine-paths")
        self.expect_none(check.rule_machine_paths, {"README.md": "a/work/x frame" + "work/root/\n"})
        self.expect_none(check.rule_machine_paths, {"x.bin": b"\0/ro" + b"ot/"})


class Shape(TreeCase):
    def test_missing_file(self):
        for name in ("leaky.h", "reference.cpp", "cases.cpp"):
            with self.subTest(name):
                self.expect(check.rule_mixer_folder, {f"src/mixers/leaky/{name}": None},
                            f"src/mixers/leaky/{name}: mixer-folder: missing")

    def test_a_primitives_reference_serves(self):
        self.expect_none(check.rule_mixer_folder,
                         {"src/mixers/leaky/reference.cpp": None,
                          "src/primitives/norm/reference.h": "",
                          "src/mixers/leaky/leaky.cpp": '#include "primitives/norm/reference.h"\n'})

    def test_half_a_kernel(self):
        self.expect(check.rule_mixer_folder, {"src/mixers/leaky/kernel.cpp": ""},
                    "src/mixers/leaky/kernel.h: mixer-folder: missing")

    def test_unregistered(self):
        self.expect(check.rule_mixer_folder, {"src/mixers/mixers.inc": "SEQMIX_MIXER(mamba)\n"},
                    "no line names leaky")

    def test_template_comments(self):
        self.expect(check.rule_template_comments, {"src/mixers/leaky/leaky.h": "//\n// CHANGE: all\n"},
                    "src/mixers/leaky/leaky.h:2: template-comments")
        self.expect_none(check.rule_template_comments,
                         {"src/mixers/_template/template.h": "// CHANGE: all\n"})

    def test_scripts(self):
        self.expect(check.rule_scripts, {"tools/run": "#!/usr/bin/env bash\nif true; then\n"},
                    "tools/run: scripts")
        self.expect(check.rule_scripts, {"tools/run": "#!/bin/sh\nif true; then\n"}, "tools/run")
        self.expect(check.rule_scripts, {"tools/show.py": "def f(:\n"},
                    "tools/show.py:1: scripts: Python")

    def test_executable_bit(self):
        self.make({})
        os.chmod(os.path.join(self.root, "tools/run"), 0o644)
        found = [str(f) for f in check.rule_scripts(check.Tree(self.root))]
        self.assertEqual(found, ["tools/run: scripts: has a #! line and is not executable"])


class Format(TreeCase):
    def test_format(self):
        program, _ = check.find_clang_format()
        if not program:
            self.skipTest("no clang-format of the right version")
        with open(os.path.join(ROOT, ".clang-format"), encoding="utf-8") as file:
            style = file.read()
        tree = self.make({".clang-format": style, "src/base/a.cpp": "int  x;\n",
                          "include/seqmix/seqmix.h": "int  y;\n"})
        found = [str(f) for f in check.run_clang_format(tree, program, fix=False)]
        self.assertEqual([f.split(":")[0] for f in found], ["src/base/a.cpp"])
        list(check.run_clang_format(tree, program, fix=True))
        self.assertEqual(list(check.run_clang_format(tree, program, fix=False)), [])


class Objects(TreeCase):
    GOOD = "_ZN6seqmix4avx212norm_kernelsE D 0 8\n_ZN6seqmix4avx2L3runEv t 0 9\nmemcpy U\n"

    def judge(self, listing):
        return list(check.judge_object("avx2", listing))

    def test_good(self):
        self.assertEqual(self.judge(self.GOOD), [])

    def test_weak(self):
        for kind in "WVwvu":
            with self.subTest(kind):
                found = self.judge(self.GOOD + f"_ZSt3maxv {kind} 0 1\n")
                self.assertEqual(found, ["weak or unique symbol _ZSt3maxv"])

    def test_two_globals(self):
        found = self.judge(self.GOOD + "_ZN6seqmix4avx23runEv T 0 1\n")
        self.assertEqual(len(found), 1)
        self.assertIn("2 global symbols instead of one", found[0])

    def test_no_global(self):
        self.assertIn("0 global symbols", self.judge("memcpy U\n")[0])

    def test_wrong_level(self):
        found = self.judge(self.GOOD.replace("4avx212norm", "6avx51212norm"))
        self.assertEqual(len(found), 1)
        self.assertIn("does not name the level avx2", found[0])

    def test_initialiser(self):
        found = self.judge(self.GOOD + "_GLOBAL__sub_I_x t 0 1\n")
        self.assertEqual(found, ["dynamic initialiser _GLOBAL__sub_I_x"])

    def test_sanitizers_add_their_own(self):
        self.assertEqual(self.judge(self.GOOD + "_GLOBAL__sub_D_00099_0_x t 0 1\n__asan_init U\n"
                                    "__odr_asan._ZN6seqmix4avx2 B 0 1\n"), [])

    def test_no_objects(self):
        found = [str(f) for f in check.check_objects(self.root)]
        self.assertEqual(len(found), 1)
        self.assertIn("no object of a library seqmix_isa_", found[0])

    def test_a_real_object(self):
        compiler = shutil.which("c++") or shutil.which("g++")
        if not compiler or not shutil.which("nm"):
            self.skipTest("no compiler")
        folder = os.path.join(self.root, "CMakeFiles", "seqmix_isa_avx2.dir", "src")
        os.makedirs(folder)
        source = os.path.join(self.root, "kernel.cpp")
        for body, expected in (
                ("namespace seqmix { namespace avx2 { extern const int t; const int t = 1; } }", ""),
                ("namespace seqmix { namespace avx2 { extern const int t; const int t = 1; } }\n"
                 "inline int f() { static int n; return ++n; }\nint (*p)() = f;", "weak or unique"),
        ):
            with open(source, "w", encoding="utf-8") as file:
                file.write(body)
            subprocess.run([compiler, "-c", source, "-o", os.path.join(folder, "kernel.cpp.o")],
                           check=True)
            found = "\n".join(str(f) for f in check.check_objects(self.root))
            if expected:
                self.assertIn(expected, found)
            else:
                self.assertEqual(found, "")


if __name__ == "__main__":
    unittest.main()
