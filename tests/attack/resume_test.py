"""What a resume may do to the run it goes on with, when it is killed or was too late, under strace."""

import json
import os
import shutil
import subprocess
import sys

from attack import DEADLINE, AttackTest, checkpoints
from harness import MPIRUN, PROGRAM, TRACED, main, train, wait_for

SKIPPED = 77  # exit status


class ResumeTest(AttackTest):
    def start(self, out, injection, *arguments):
        """lockstep train under strace, with failures of system calls; returns the process."""
        words = [MPIRUN, "-n", 1, "strace", "-f", "-o", self.directory / "strace", "-e",
                 f"trace={injection.partition(':')[0]}", "-e", f"inject={injection}", PROGRAM,
                 "train", "--out", out, "--threads", 1, *self.settings, *arguments]
        return subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True,
                                env={**os.environ, **TRACED, "LOCKSTEP_TEST_GRACE": "0"})

    def test_killed_while_it_goes_back(self):
        """Whatever checkpoint is the newest then has all of its records."""
        whole = self.directory / "whole"
        self.expect(train(1, whole, *self.settings, "--keep-checkpoints", 99, "--max-steps", 12), 75)
        back = 7
        kills = cut_by_now = 0
        for rename in range(1, 40):
            out = self.directory / f"out-{rename}"
            shutil.copytree(whole, out)
            job = self.start(out, f"rename:signal=KILL:when={rename}", "--resume",
                             out / "checkpoints" / f"step-{back:08}", "--keep-checkpoints", 99,
                             "--max-steps", back + 1)
            job.communicate(timeout=DEADLINE)
            newest = int(self.expect_sound(out)[-1][len("step-"):])
            with self.subTest(rename=rename, newest=newest):
                steps = {r["step"] for r in map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
                         if r["kind"] == "step"}
                self.assertLessEqual(set(range(1, newest + 1)), steps)
                self.assertEqual(checkpoints(out),
                                 [f"step-{step:08}" for step in range(1, newest + 1)])
            kills += job.returncode != 75
            cut_by_now += newest == back
            shutil.rmtree(out)
            if job.returncode == 75:
                break
        self.assertEqual(job.returncode, 75)
        # Among them those of steps 12 to 8, and that of the records.
        self.assertGreater(kills, 6)
        self.assertGreater(cut_by_now, 0)

    def test_another_run_went_on_meanwhile(self):
        """It has chosen its checkpoint, and waits for the lock, when a later one appears."""
        whole, out = self.directory / "whole", self.directory / "out"
        self.expect(train(1, whole, *self.settings, "--max-steps", 6), 75)
        self.expect(train(1, out, *self.settings, "--max-steps", 4), 75)
        later = self.directory / "later"
        shutil.copytree(whole / "checkpoints" / "step-00000006", later)
        (out / ".lock").unlink()
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        job = self.start(out, "flock:delay_enter=5s", "--resume", "auto")
        wait_for(lambda: (out / ".lock").exists() or job.poll() is not None, "its lock", DEADLINE)
        self.assertIsNone(job.poll())
        later.rename(out / "checkpoints" / "step-00000006")
        _, errors = job.communicate(timeout=DEADLINE)
        self.assertEqual(job.returncode, 73, errors)
        self.assertIn(f"{out}: its checkpoints changed", errors)
        self.assertEqual(self.expect_sound(out)[-1], "step-00000006")
        self.assertEqual(before, {p: p.read_bytes() for p in before})


if __name__ == "__main__":
    if not shutil.which("strace"):
        print("skipped: strace is not installed")
        sys.exit(SKIPPED)
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        print("skipped: strace may not trace here")
        sys.exit(SKIPPED)
    main()
