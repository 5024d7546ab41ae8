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

    def test_lost_checkpoints_are_no_new_run(self):
        """A disk that is not mounted, most likely: the records stay as they are."""
        for name, lose in {"gone": lambda path: None,
                           "a link to nothing": lambda path: path.symlink_to("elsewhere"),
                           "a link to itself": lambda path: path.symlink_to(path.name),
                           "a file": lambda path: path.write_bytes(b"")}.items():
            with self.subTest(name):
                out = self.directory / "out"
                shutil.copytree(self.run_to(10), out)  # an epoch has 9 steps
                shutil.rmtree(out / "checkpoints")
                lose(out / "checkpoints")
                before = {p: p.read_bytes() for p in out.glob("*.*") if p.is_file()}
                for resume in ["auto", *([out] if name != "gone" else [])]:
                    result = train(1, out, *self.settings, "--resume", resume)
                    self.expect(result, 66)
                    self.assertIn(f"{out}", result.stderr)
                self.assertEqual(before, {p: p.read_bytes() for p in before})
                shutil.rmtree(out)

    def test_records_behind_the_last_sync(self):
        """A machine that lost its power may leave anything there."""
        out = self.directory / "out"
        shutil.copytree(self.run_to(4), out)
        with open(out / "metrics.jsonl", "ab") as file:
            file.write(bytes(200) + b'\n{"kind":"step","step":6}\n' + bytes(50) + b"\n")
        result = self.expect(
            train(2, out, *self.settings, "--max-steps", 5, "--resume", "auto"), 75)
        self.assertRegex(result.stderr, "warning: .*metrics.jsonl: line 5 is no record")
        self.expect_same_records(out, self.run_to(5))
        # In what the checkpoint covers it is damage, and nothing is cut.
        lines = (out / "metrics.jsonl").read_bytes().splitlines(keepends=True)
        (out / "metrics.jsonl").write_bytes(b"".join([lines[0], b"{\n", *lines[2:]]))
        before = {p: p.read_bytes() for p in out.rglob("*.jsonl")}
        result = self.expect(train(2, out, *self.settings, "--resume", "auto"), 65)
        self.assertIn("metrics.jsonl: line 2", result.stderr)
        self.assertEqual(before, {p: p.read_bytes() for p in before})


for name, arguments in DAMAGES.items():
    setattr(DamageTest, f"test_{name}", lambda self, arguments=arguments: self.attack(*arguments))

if __name__ == "__main__":
    main()
