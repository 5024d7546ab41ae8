#!/usr/bin/env python3
"""The README's commands work: every block ```sh test is run in a scratch copy and ends as it says."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import readme

SOURCE = readme.SOURCE
PROGRAM = Path(os.environ.get("LOCKSTEP_PROGRAM", SOURCE / "build" / "lockstep")).resolve()
README = Path(os.environ.get("LOCKSTEP_README", SOURCE / "README.md"))


def help_of(command):
    """The --help of lockstep, one of its commands, or a script of the repository."""
    if command == ["launch/slurm/train.sbatch"]:  # only Slurm can start it; it hands its arguments on
        command = ["launch/train"]
    program = [str(PROGRAM), *command[1:]] if command[0].endswith("lockstep") else [str(SOURCE / command[0])]
    text = subprocess.run([*program, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    # What launch/train does not know it hands on.
    return text + help_of(["lockstep", "train"]) if command == ["launch/train"] else text


class Readme(unittest.TestCase):
    def setUp(self):
        self.text = README.read_text()

    def test_names_and_options(self):
        self.assertEqual(list(readme.faults(self.text, SOURCE, help_of)), [])

    def test_networks(self):
        networks = help_of(["lockstep", "train"]).split("Networks for --model:\n")[1].split("\n\n")[0]
        for line in networks.splitlines():
            self.assertIn(f"`{line.split()[0]}`", self.text)

    def test_packages(self):
        listed = re.search(r"^packages=\((.*?)\)", (SOURCE / "launch/common.sh").read_text(), re.DOTALL | re.MULTILINE)
        wanted = {item.split(":")[0] for item in listed.group(1).split()}
        command = next(line for line in self.text.splitlines() if line.startswith("apt-get install"))
        self.assertEqual(wanted, set(command.split()[2:]) - {"-y"})

    def test_commands(self):
        blocks = readme.blocks(self.text)
        self.assertGreater(len([block for block in blocks if block.kind == "sh test"]), 2)
        scratch = self.make_checkout()
        printed = None
        for block in blocks:
            if block.kind == "sh test":
                printed = ""
                for number, command, code in block.commands():
                    done = self.run_line(scratch, command)
                    printed += done.stdout
                    self.assertEqual(done.returncode, code,
                                     f"README.md, line {number}: {command}\n{done.stdout[-3000:]}")
            elif block.kind == "text output":
                self.assertIsNotNone(printed, f"README.md, line {block.line}: output of what?")
                self.assertEqual(readme.missing_output(block.lines, printed), [],
                                 f"README.md, line {block.line}: not in this output:\n{printed[-6000:]}")

    def make_checkout(self):
        """A directory with the source tree's folders, a build/lockstep, and nothing else."""
        scratch = Path(tempfile.mkdtemp(prefix="lockstep-readme-"))
        self.addCleanup(shutil.rmtree, scratch, ignore_errors=True)
        for name in ("benchmarks", "configs", "data", "launch"):
            (scratch / name).symlink_to(SOURCE / name)
        (scratch / "build").mkdir()
        (scratch / "build" / "lockstep").symlink_to(PROGRAM)
        wrapper = scratch / ".bin" / "mpirun"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nPATH="{os.environ["PATH"]}" exec "{SOURCE}/tests/mpirun" "$@"\n')
        wrapper.chmod(0o755)
        return scratch

    def run_line(self, scratch, command):
        environment = dict(os.environ, PATH=f"{scratch}/.bin:{os.environ['PATH']}", TMPDIR=str(scratch))
        return subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=scratch, env=environment,
                              text=True, timeout=300, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM}: not built")
    unittest.main(verbosity=2)
