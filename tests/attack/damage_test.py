#!/usr/bin/env python3
"""Damaged checkpoints and --resume auto: the newest good one is taken, what was passed over is
named, and the run goes on with the exact weights."""

import os
import shutil
from pathlib import Path

from attack import AttackTest
from harness import main, train, weights


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def replace(path, make):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    make(path)


# What is done to the newest checkpoint, of step 4, and what is said of it.
DAMAGES = {
    "manifest_flipped": (lambda d: flip(d / "MANIFEST.json", 9), "MANIFEST.json"),
    "manifest_cut": (lambda d: cut(d / "MANIFEST.json"), "MANIFEST.json"),
    "weights_flipped": (lambda d: flip(d / "model.safetensors", -1), "model.safetensors"),
    "optimizer_empty": (lambda d: (d / "optimizer.safetensors").write_bytes(b""),
                        "optimizer.safetensors"),
    "state_missing": (lambda d: (d / "state.json").unlink(), "state.json"),
    "state_a_pipe": (lambda d: replace(d / "state.json", os.mkfifo), "is not a regular file"),
    "weights_a_link": (lambda d: replace(d / "model.safetensors", lambda p: p.symlink_to(
        d.parent / "step-00000003" / p.name)), "is a symbolic link"),
    "a_link": (lambda d: replace(d, lambda p: p.symlink_to("step-00000003")), "is not a directory"),
    "gone": (shutil.rmtree, "it is gone"),
}


class DamageTest(AttackTest):
    _runs = {}

    def run_to(self, steps):
        """A run stopped after so many steps; made once."""
        if steps not in self._runs:
            out = Path(self._class_directory.name) / f"to-{steps}"
            self.expect(train(2, out, *self.settings, "--max-steps", steps), 75)
            self._runs[steps] = out
        return self._runs[steps]

    def attack(self, damage, said):
        out = self.directory / "out"
        shutil.copytree(self.run_to(4), out)
        newest = out / "checkpoints" / "step-00000004"
        damage(newest)
        result = self.expect(
            train(2, out, *self.settings, "--max-steps", 5, "--resume", "auto"), 75)
        self.assertRegex(result.stderr, f"warning: {newest}: skipped: .*{said}")
        self.assertIn(f"step 3 from {out}/checkpoints/step-00000003", result.stderr)
        self.assertEqual(weights(out, "step-00000005"), weights(self.run_to(5), "step-00000005"))

    def test_no_good_one_is_no_new_run(self):
        out = self.directory / "out"
        self.expect(train(2, out, *self.settings, "--max-steps", 2), 75)
        for directory in (out / "checkpoints").glob("step-*"):
            cut(directory / "MANIFEST.json")
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        result = self.expect(train(2, out, *self.settings, "--resume", "auto"), 65)
        self.assertEqual(result.stderr.count("skipped"), 2)
        self.assertIn("no checkpoint is good", result.stderr)
        for directory in (out / "checkpoints").glob("step-*"):
            shutil.rmtree(directory)
        self.expect(train(2, out, *self.settings, "--resume", "auto"), 65)
        self.assertEqual({p: b for p, b in before.items() if "checkpoints/step-" not in str(p)},
                         {p: p.read_bytes() for p in out.rglob("*") if p.is_file()})


for name, arguments in DAMAGES.items():
    setattr(DamageTest, f"test_{name}", lambda self, arguments=arguments: self.attack(*arguments))

if __name__ == "__main__":
    main()
