"""Tests tools/test_summary on the kinds of result that ctest writes.

usage: python3 tests/tools/test_summary.py
"""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CASES = {
    "passed": '<testcase name="ok" time="0.1" status="run"><system-out>x</system-out></testcase>',
    "failed": '<testcase name="bad" time="0.1" status="fail"><failure message=""/>'
              '<system-out>expected 1, got 2</system-out></testcase>',
    "group": '<testcase name="mixer/x" time="1" status="run"><system-out>[=====] 34 tests ran.\n'
             '[  PASSED  ] 34 tests.</system-out></testcase>',
    "bad_group": '<testcase name="mixer/y" time="1" status="fail"><failure message=""/>'
                 '<system-out>[  PASSED  ] 30 tests.\n[  FAILED  ] 2 tests, listed below:\n'
                 '[  FAILED  ] a.b</system-out></testcase>',
    "crashed_group": '<testcase name="mixer/z" time="1" status="fail"><failure message=""/>'
                     '<system-out>Segmentation fault</system-out></testcase>',
    "timeout": '<testcase name="slow" time="60.0" status="fail"><failure message=""/></testcase>',
    "skipped": '<testcase name="skip" time="0" status="notrun">'
               '<skipped message="SKIP_RETURN_CODE=77"/>'
               '<system-out>SKIP: golden files are not there</system-out></testcase>',
    "cpu": '<testcase name="avx512" time="0" status="notrun">'
           '<skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>'
           '<system-out>a.cpp:3: Skipped\nthis CPU lacks avx512\n[  SKIPPED ] x</system-out>'
           '</testcase>',
    "sanitized": '<testcase name="malloc" time="0" status="notrun">'
                 '<skipped message="SKIP_RETURN_CODE=77"/>'
                 '<system-out>SKIP: a sanitizer replaces malloc itself</system-out></testcase>',
    "no_program": '<testcase name="gone" time="0" status="notrun">'
                  '<skipped message="Unable to find executable"/></testcase>',
    "fixture": '<testcase name="after" time="0" status="notrun">'
               '<skipped message="Fixture dependency failed"/></testcase>',
    "disabled": '<testcase name="off" time="0" status="disabled"></testcase>',
}


class Summary(unittest.TestCase):
    def run_on(self, names, *options, text=None):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "junit.xml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text if text is not None else
                           "<testsuite>" + "".join(CASES[name] for name in names) + "</testsuite>")
            result = subprocess.run(
                [sys.executable, os.path.join(ROOT, "tools", "test_summary"), *options, path],
                stdout=subprocess.PIPE, check=False)
        lines = result.stdout.decode().strip().split("\n")
        return result.returncode, lines[-1], "\n".join(lines[:-1])

    def test_counts(self):
        status, counts, shown = self.run_on(["passed", "passed", "failed", "skipped", "disabled"])
        self.assertEqual((status, counts), (1, "2 1 2"))
        self.assertIn("failed: bad", shown)
        self.assertIn("expected 1, got 2", shown)
        self.assertIn("golden files are not there", shown)

    def test_all_passed(self):
        self.assertEqual(self.run_on(["passed", "skipped"])[:2], (0, "1 0 1"))

    def test_groups_count_as_their_tests(self):
        status, counts, shown = self.run_on(["group", "passed", "bad_group", "crashed_group"])
        self.assertEqual((status, counts), (1, "65 3 0"))
        self.assertIn("failed: mixer/z", shown)

    def test_silent_failure_says_how_long(self):
        self.assertIn("it ran 60.0 s", self.run_on(["timeout"])[2])

    def test_not_run_is_no_skip(self):
        self.assertEqual(self.run_on(["no_program", "fixture"])[:2], (1, "0 2 0"))

    def test_strict(self):
        status, counts, shown = self.run_on(["passed", "skipped", "disabled", "cpu"], "--strict")
        self.assertEqual((status, counts), (1, "1 2 1"))
        self.assertIn("not allowed here", shown)
        self.assertIn("avx512: this CPU lacks avx512", shown)
        self.assertEqual(self.run_on(["cpu", "sanitized"], "--strict")[:2], (0, "0 0 2"))

    def test_nothing_ran(self):
        self.assertEqual(self.run_on([])[:2], (1, "0 1 0"))
        self.assertEqual(self.run_on([], text="<testsuite>")[:2], (1, "0 1 0"))


if __name__ == "__main__":
    unittest.main()
