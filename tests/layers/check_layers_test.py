#!/usr/bin/env python3
"""check_layers.py must find each arrow that is planted in a small tree, and nothing in the tree without it."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from check_layers import problems  # noqa: E402

CLEAN = {
    "src/base/error.h": "#pragma once\n",
    "src/comm/communicator.h": '#include "src/base/error.h"\n',
    "kernels/backend.h": '#include "kernels/codec/codec.h"\n',
    "kernels/codec/codec.h": '#include "src/base/error.h"\n',
    "io/file.h": '#include "src/base/error.h"\n#include <vector>\n',
    "src/quant/gptq.cc": '#include "kernels/backend.h"\n// #include "src/comm/communicator.h"\n',
    "src/plan/plan.cc": "// catch (...) is for launch/\n",
    "launch/main.cc": '#include "src/plan/plan.h"\nint main() { try { } catch (...) { } }\n',
    "src/plan/plan.h": "#pragma once\n",
}
MUTANTS = {
    "base includes comm": ("src/base/error.h", '#include "src/comm/communicator.h"'),
    "quant knows ranks": ("src/quant/gptq.cc", '#include "src/comm/communicator.h"'),
    "quant knows files": ("src/quant/gptq.cc", '#include "io/file.h"'),
    "plan needs hardware": ("src/plan/plan.cc", '#include "kernels/backend.h"'),
    "plan reads files": ("src/plan/plan.cc", '#include "io/file.h"'),
    "codec includes a backend": ("kernels/codec/codec.h", '#  include "kernels/backend.h"'),
    "a path that is not from the root": ("src/plan/plan.cc", '#include "plan.h"'),
    "catches everything": ("src/quant/gptq.cc", "void f() { try { } catch ( ... ) { } }"),
    "a second main": ("src/comm/communicator.h", "int main() {}"),
    "an unknown layer": ("src/util/util.h", ""),
}


class CheckLayers(unittest.TestCase):
    def check(self, files):
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                (Path(root) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(root) / name).write_text(text)
            return problems(Path(root))

    def test_clean_tree(self):
        self.assertEqual(self.check(CLEAN), [])

    def test_no_sources(self):
        self.assertEqual(len(self.check({})), 1)

    def test_mutants(self):
        for what, (name, line) in MUTANTS.items():
            with self.subTest(what):
                found = self.check({**CLEAN, name: CLEAN.get(name, "") + line + "\n"})
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(name), found)


if __name__ == "__main__":
    unittest.main()
