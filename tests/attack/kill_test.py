#!/usr/bin/env python3
"""SIGKILL at random moments of a run that checkpoints every step: [--kills N] [--seed N]."""

import argparse
import random
import sys
import time

from attack import DEADLINE, AttackTest, Job, checkpoints, wait_for
from harness import main


class KillTest(AttackTest):
    def expect_newest(self, errors, newest):
        """A start goes on from the newest checkpoint, if it came that far, and passes over none."""
        self.assertNotIn("skipped", errors)
        if "resumed after" in errors:
            self.assertIn(f"checkpoints/{newest}", errors)

    def strike(self, source, ranks, out):
        """Starts or resumes the job and kills it; whether it lived to be killed."""
        before = self.expect_sound(out)
        with Job(ranks, out, *self.settings, "--resume", "auto") as job:
            if source.random() < 0.2:  # in its start-up, mostly
                time.sleep(source.uniform(0, 3))
            else:
                wait_for(lambda: checkpoints(out) != before or job.process.poll() is not None,
                         "a checkpoint", DEADLINE)
                time.sleep(source.uniform(0, 0.2))
            alive = job.process.poll() is None
            victim = source.randint(-1, ranks - 1)
            if victim >= 0:
                job.kill_rank(victim)  # mpirun ends the others
            job.kill_all()
            self.expect_newest(job.stderr(), before[-1] if before else "none")
        return alive

    def test_every_kill_leaves_a_run_that_ends_in_the_exact_weights(self):
        print(f"--kills {chosen.kills} --seed {chosen.seed}", flush=True)
        source = random.Random(chosen.seed)
        kills = rounds = 0
        steps = []
        while kills < chosen.kills:
            rounds += 1
            ranks = 1 + rounds % 2
            out = self.directory / f"out-{rounds}"
            for _ in range(min(source.randint(2, 5), chosen.kills - kills)):
                if not self.strike(source, ranks, out):
                    break
                kills += 1
                steps.append(int((self.expect_sound(out) or ["step-0"])[-1][len("step-"):]))
            newest = self.expect_sound(out)
            self.expect_newest(self.finish(ranks, out).stderr, newest[-1] if newest else "none")
        print(f"{kills} kills in {rounds} runs of {self.STEPS} steps, after {steps}", flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--seed", type=int, default=time.time_ns())
    chosen, sys.argv[1:] = options.parse_known_args()
    main()
