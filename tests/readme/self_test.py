#!/usr/bin/env python3
"""What keeps the README true finds what it should, and nothing else."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import readme

TABLES = os.environ.get("LOCKSTEP_README_TABLES", readme.SOURCE / "build/tests/readme/readme_tables")
HELP = {"build/lockstep": "--help --version", "build/lockstep train": "  --epochs N\n  --out PATH  see --epochs",
        "launch/train": "[--ranks N]"}


def faults(commands):
    text = f"```sh\n{commands}\n```\n"
    return list(readme.faults(text, readme.SOURCE, lambda command: HELP[" ".join(command)]))


class Commands(unittest.TestCase):
    def test_blocks(self):
        text = "a\n```sh test\none \\\n  two # why\n\n# nothing\nthree # exits with 75\n```\n```text output\nx\n```\n"
        found = readme.blocks(text)
        self.assertEqual([(block.kind, block.line) for block in found], [("sh test", 2), ("text output", 9)])
        self.assertEqual(list(found[0].commands()), [(3, "one two", 0), (7, "three", 75)])
        shell = "a 'b  c' *.jpg | d - >e   # f"
        block = readme.blocks(f"```sh test\n{shell}\n```\n")[0]
        self.assertEqual([command for _, command, _ in block.commands()], ["a 'b  c' *.jpg | d - >e"])

    def test_good_commands(self):
        self.assertEqual(faults("mpirun -n 2 --bind-to none build/lockstep train --epochs 2 --out=x\n"
                                "build/lockstep --version\nlaunch/train --ranks 2\n"
                                "LIBTORCH_ROOT=/x cmake --preset release -DX=Y\nbuild/lockstep train configs/smoke.ini"), [])

    def test_faults(self):
        for command, words in (("build/lockstep train --epoch 2", "has no --epoch"),
                               ("mpirun -n 2 build/lockstep train --lr=2", "has no --lr"),
                               ("launch/train --rank 2", "launch/train has no --rank"),
                               ("cmake --preset fast", "no preset fast"),
                               ("frobnicate --now", "frobnicate"),
                               ("build/lockstep train --out configs/none.ini", "no configs/none.ini")):
            found = faults(command)
            self.assertEqual(len(found), 1, f"{command}: {found}")
            self.assertIn(words, found[0])

    def test_links(self):
        text = "[a](LICENSE) [b](nowhere.md) [c](https://x.org/y) [d](#part) `src/train/trainer.cpp` `src/none.cpp`"
        self.assertEqual(list(readme.faults(text, readme.SOURCE, None)), ["there is no nowhere.md", "there is no src/none.cpp"])

    def test_output(self):
        printed = "epoch 1: loss 0.4, 12.8 s\n/x/runs/a: 1,234 images\n" + "a" * 64 + "  f\n"
        shown = ["... (more)", "", "epoch 2: loss 1e-05, 1 h 02 min", "runs/a:   9 images", "b" * 64 + "  f"]
        self.assertEqual(readme.missing_output(shown, printed), [])
        self.assertEqual(readme.missing_output(["epoch 1: losses 0.4, 2 s"], printed), ["epoch 1: losses 0.4, 2 s"])


class Tables(unittest.TestCase):
    MARKS = "# x\n<!-- table: settings -->\n<!-- table end -->\ny\n<!-- table: exit codes -->\n<!-- table end -->\n"

    def run_on(self, text, *options):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "README.md"
            file.write_text(text)
            done = subprocess.run([TABLES, *options, file], capture_output=True, text=True)
            return done, file.read_text()

    def test_write_then_compare(self):
        done, _ = self.run_on(self.MARKS)
        self.assertEqual(done.returncode, 65)
        self.assertIn("settings is out of date", done.stderr)
        self.assertIn("exit codes is out of date", done.stderr)
        done, text = self.run_on(self.MARKS, "--write")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| `epochs` |", text)
        self.assertIn("| 75 |", text)
        self.assertTrue(text.startswith("# x\n") and "\ny\n" in text)
        self.assertEqual(self.run_on(text)[0].returncode, 0)
        self.assertEqual(self.run_on(text, "--write")[1], text)
        for wrong in (text.replace("| 30 |", "| 31 |", 1), text.replace("disk full", "full"),
                      text.replace("| `epochs` |", "| `epoch` |")):
            self.assertNotEqual(wrong, text)
            self.assertEqual(self.run_on(wrong)[0].returncode, 65)
            self.assertEqual(self.run_on(wrong, "--write")[1], text)

    def test_marks_are_needed(self):
        for text in ("", self.MARKS.replace("<!-- table end -->\n", ""), self.MARKS + self.MARKS,
                     self.MARKS.replace("exit codes", "codes")):
            done, after = self.run_on(text, "--write")
            self.assertEqual(done.returncode, 65)
            self.assertEqual(after, text)
            self.assertIn("expected", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
