#!/usr/bin/env python3
"""Checkpoints are written while training goes on, and are worth what they would be if it waited for them."""

import subprocess
import time

from harness import ProgramTest, checkpoints, command, main, records, train, wait_for, weights, write_small_mnist

# The first sign of progress of the checkpoint of step 5 takes so long that training comes as far as the next one.
HELD = "slow@checkpoint:rank=0,step=5,pass=1,seconds=3"


class CheckpointTest(ProgramTest):
    def setUp(self):
        super().setUp()
        # 12 steps an epoch, with a checkpoint after steps 5, 10 and so on, and after each epoch.
        self.settings = ["--data", write_small_mnist(self.directory / "data"), "--model", "mlp", "--batch-size", 225,
                         "--epochs", 3, "--log-every-steps", 1, "--checkpoint-every-steps", 5, "--keep-checkpoints", 99,
                         "--ema-decay", "0.9"]
        self.out = self.directory / "out"

    def reference(self, ranks, *settings, code=0):
        """A run that nothing holds up."""
        out = self.directory / f"reference-{ranks}"
        self.expect(train(ranks, out, *self.settings, *settings), code)
        return out

    def expect_same(self, one, other):
        self.assertEqual(checkpoints(one), checkpoints(other))
        for name in checkpoints(one):
            self.assertEqual(weights(one, name), weights(other, name), name)
        self.assertEqual(*((out / "checkpoints/BEST").read_text() for out in (one, other)))
        for name in ("metrics.jsonl", "decisions.jsonl"):
            self.assertEqual(*(records(out / name) for out in (one, other)))

    def steps_recorded(self, out=None):
        path = (out or self.out) / "metrics.jsonl"
        lines = records(path) if path.exists() else []
        return max((r["step"] for r in lines if r["kind"] == "step"), default=0)

    def test_it_is_of_the_moment_although_training_goes_on(self):
        for ranks in (1, 2):
            with self.subTest(ranks=ranks):
                out = self.directory / f"held-{ranks}"
                job = subprocess.Popen(command(ranks, "train", "--out", out, "--threads", 1, *self.settings,
                                               "--inject-fault", HELD), stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
                self.addCleanup(job.kill)
                # The next checkpoint waits for this one, and the step after it for both.
                wait_for(lambda: (out / "metrics.jsonl").exists() and self.steps_recorded(out) >= 10, "step 10")
                self.assertEqual(checkpoints(out), [])
                time.sleep(0.3)
                self.assertEqual(self.steps_recorded(out), 10)
                self.assertEqual(job.wait(timeout=60), 0)
                whole = self.reference(ranks)
                self.expect_same(out, whole)
                self.assertEqual(len(checkpoints(out)), 10)  # of 5, 10, 12, 15 ... 36
                # And those of a run that ended there, and so waited for it.
                self.expect(train(ranks, out.with_suffix(".5"), *self.settings, "--max-steps", 5), 75)
                self.assertEqual(weights(out, "step-00000005"), weights(out.with_suffix(".5")))

    def test_killed_while_it_is_written(self):
        """The older one is left, and the run ends in the same bits from there."""
        whole = self.reference(2)
        for index, moment in enumerate(("step=10,pass=1", "step=10,pass=9", "step=12,pass=12", "step=15,pass=22")):
            with self.subTest(moment):
                out = self.directory / f"killed-{index}"
                result = train(2, out, *self.settings, "--inject-fault", f"kill@checkpoint:rank=0,{moment}")
                self.assertEqual(result.returncode, 137, result.stderr)
                step = int(moment.split(",")[0].removeprefix("step="))
                left = [int(name.removeprefix("step-")) for name in checkpoints(out)]
                # Of pass 22 the directory has its name already.
                self.assertEqual(left, [s for s in (5, 10, 12, 15) if s < step or (s == step and "22" in moment)])
                self.expect(train(2, out, *self.settings, "--resume", "auto"), 0)
                self.expect_same(out, whole)

    def test_a_failure_ends_the_run_after_the_next_step(self):
        """Not only when the next checkpoint is due."""
        result = train(2, self.out, *self.settings, "--inject-fault",
                       "throw@checkpoint:rank=0,step=5; slow@forward:rank=1,step=6-9,seconds=1")
        self.expect(result, 70)
        self.assertRegex(result.stderr, r"error: rank 0 .*in phase checkpoint of step [6-9].*: injected fault: throw@checkpoint, step 5")
        self.assertEqual(result.stderr.count("error: "), 1)
        self.assertLess(self.steps_recorded(), 10)
        self.assertEqual(checkpoints(self.out), [])

    def test_a_failure_of_the_last_one_is_not_lost(self):
        for last, older, stop in ((36, 35, ()), (14, 12, ("--max-steps", 14))):
            out = self.directory / f"out-{last}"
            result = train(2, out, *self.settings, *stop, "--inject-fault", f"throw@checkpoint:rank=0,step={last}")
            self.expect(result, 70)
            self.assertRegex(result.stderr, f"error: rank 0 .*: injected fault: throw@checkpoint, step {last}")
            self.assertEqual(checkpoints(out)[-1], f"step-{older:08}")
            self.expect(train(2, out, *self.settings, "--resume", "auto"), 0)

    def test_a_run_that_fails_keeps_what_was_under_way(self):
        """The other ranks wait as long as it takes, which is longer than their deadline."""
        result = train(2, self.out, *self.settings, "--collective-timeout", 2, "--inject-fault",
                       "slow@checkpoint:rank=0,step=5,seconds=0.2; nan@gradient:rank=1,step=7")
        self.expect(result, 76)
        self.assertIn("step 7: the reduced gradient is not finite", result.stderr)
        self.assertEqual(checkpoints(self.out), ["step-00000005"])
        self.expect(train(2, self.out, *self.settings, "--resume", "auto"), 0)
        self.expect_same(self.out, self.reference(2))

    def test_another_rank_that_fails_does_not_cost_it(self):
        """mpirun ends the root, too, but gives it time to finish what is under way."""
        whole = self.reference(2)
        for index, (failure, code) in enumerate((("kill", 137), ("throw", 70))):
            with self.subTest(failure):
                out = self.directory / f"failed-{index}"
                result = train(2, out, *self.settings, "--inject-fault",
                               f"slow@checkpoint:rank=0,step=5,pass=1,seconds=0.2; {failure}@forward:rank=1,step=6",
                               environment={"LOCKSTEP_TEST_GRACE": "1"})
                self.expect(result, code)
                self.assertEqual(checkpoints(out), ["step-00000005"])
                self.expect(train(2, out, *self.settings, "--resume", "auto"), 0)
                self.expect_same(out, whole)

    def test_of_two_failures_the_run_tells_both(self):
        result = train(2, self.out, *self.settings, "--inject-fault",
                       "slow@checkpoint:rank=0,step=5,pass=1,seconds=2; throw@checkpoint:rank=0,step=5,pass=2; "
                       "nan@gradient:rank=1,step=7")
        self.expect(result, 76)
        self.assertIn("warning: injected fault: throw@checkpoint, step 5", result.stderr)
        self.assertIn("error: step 7: the reduced gradient is not finite", result.stderr)

    def test_a_stop_waits_for_it(self):
        result = self.expect(train(2, self.out, *self.settings, "--max-steps", 7, "--inject-fault", HELD), 75)
        self.assertNotIn("error", result.stderr)
        self.assertEqual(checkpoints(self.out), ["step-00000005", "step-00000007"])
        self.expect(train(2, self.out, *self.settings, "--resume", "auto"), 0)

    def test_a_writer_that_hangs_ends_the_job_before_the_next_checkpoint(self):
        result = train(2, self.out, *self.settings, "--collective-timeout", "2.5", "--inject-fault",
                       "hang@checkpoint:rank=0,step=5,pass=3; slow@forward:rank=1,step=6-99,seconds=1")
        self.expect(result, 69)
        self.assertRegex(result.stderr, "rank 0 .*in phase checkpoint")
        self.assertLess(self.steps_recorded(), 10)

    def test_a_writer_that_hangs_ends_the_job(self):
        began = time.monotonic()
        result = train(2, self.out, *self.settings, "--collective-timeout", 2, "--inject-fault",
                       "hang@checkpoint:rank=0,step=10,pass=9")
        self.expect(result, 69)
        self.assertLess(time.monotonic() - began, 30)
        self.assertRegex(result.stderr, "rank 0 .*in phase checkpoint")
        self.assertEqual(checkpoints(self.out), ["step-00000005"])


if __name__ == "__main__":
    main()
