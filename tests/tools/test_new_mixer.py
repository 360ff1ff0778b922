#!/usr/bin/env python3
"""tools/new_mixer: the copy has every name changed and every file that tools/check wants.

That the template itself builds and passes the conformance suite, template_tests shows.
"""
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(ROOT, "tools", name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.dont_write_bytecode = True
    sys.modules[name] = module
    loader.exec_module(module)
    return module


check = load("check")
PROGRAM = os.path.join(ROOT, "tools", "new_mixer")


class NewMixer(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="seqmix_new_mixer_")
        self.addCleanup(shutil.rmtree, self.root)
        for folder in ("src", "include", "tools"):
            shutil.copytree(os.path.join(ROOT, folder), os.path.join(self.root, folder))

    def begin(self, name):
        return subprocess.run([sys.executable, PROGRAM, name, "--root", self.root],
                              capture_output=True, text=True, check=False)

    def read(self, *parts):
        with open(os.path.join(self.root, "src", "mixers", *parts), encoding="utf-8") as file:
            return file.read()

    def findings(self):
        tree = check.Tree(self.root)
        return [finding for rule in check.RULES for finding in rule(tree)]

    def test_copy(self):
        self.assertEqual([f for f in self.findings() if "_template" in f.path], [])
        before = self.read("mixers.inc")
        done = self.begin("slow_mean")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        names = {name.replace("template", "slow_mean")
                 for name in os.listdir(os.path.join(ROOT, "src", "mixers", "_template"))}
        self.assertEqual(set(os.listdir(os.path.join(self.root, "src", "mixers", "slow_mean"))), names)
        for name in names:
            self.assertIn("src/mixers/slow_mean/" + name, done.stdout)
            self.assertNotIn("template", self.read("slow_mean", name).lower(), name)
        self.assertIn("struct SlowMeanArgs", self.read("slow_mean", "kernel.h"))
        self.assertIn('"mixers/slow_mean/kernel.h"', self.read("slow_mean", "slow_mean.cpp"))
        self.assertEqual(self.read("mixers.inc"), before + "SEQMIX_MIXER(slow_mean, slow_mean)\n")
        # What tools/check says of the copy is what is still to be changed, and nothing else.
        said = [f for f in self.findings() if "slow_mean" in f.path]
        self.assertGreater(len(said), 4)
        for finding in said:
            self.assertEqual(finding.rule, "template-comments", finding)

    def test_refusals(self):
        before = self.read("mixers.inc")
        for name in ("Foo", "foo-bar", "foo__bar", "1foo", "", "my_template", "mamba", "../foo",
                     "causal_conv1d_op"):
            done = self.begin(name)
            self.assertEqual(done.returncode, 2, name)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertEqual(self.read("mixers.inc"), before)


if __name__ == "__main__":
    unittest.main()
