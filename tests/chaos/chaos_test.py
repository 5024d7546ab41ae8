#!/usr/bin/env python3
"""Random ranks, or mpirun, are killed every few seconds under launch/train --restarts, and the run
still ends in the weights, metrics and decisions of a quiet one.

--long: for 300 s; else for 12.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "launch"))
import launched  # noqa: E402
import harness  # noqa: E402

LONG = "--long" in sys.argv
RANKS = 2
# Steps are slowed down, which changes no number, so that the quiet run need not last as long.
EPOCHS, SECONDS_PER_STEP = (320, 0.07) if LONG else (8, 0.05)
KILLING_SECONDS, LONGEST_PAUSE = (300, 8.0) if LONG else (12, 3.0)


class ChaosTest(launched.LaunchTest):
    def candidates(self, job):
        mpirun = launched.mpirun_of(job)
        ranks = [pid for parent in mpirun for pid, name in launched.children(parent) if name == "lockstep"]
        # Each rank, and mpirun, about as often.
        return mpirun + ranks if len(ranks) == RANKS else ranks

    def kill_one(self, job, draw):
        """Kills one process once there are some; returns 0 when the job has ended before."""
        while job.poll() is None:
            victims = self.candidates(job)
            if victims:
                try:
                    os.kill(draw.choice(victims), signal.SIGKILL)
                    return 1
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        return 0

    @staticmethod
    def wait_for_restarts(job, count):
        """Until every kill has been followed by a restart."""
        harness.wait_for(lambda: job.poll() is not None or
                         job.log.read_text().count(": restart ") >= count, "a restart")

    def test_faults_of_one_try(self):
        """One fault a try, which would strike again after every restart but for `try`."""
        job = self.launch(RANKS, self.directory / "out", "--max-steps", 8, "--checkpoint-every-steps", 1, "--restarts", 9,
                          "--restart-delay", 0, "--inject-fault",
                          "kill@forward:rank=1,step=3,try=1;kill@forward:rank=0,step=5,try=2;throw@load:rank=all,try=9")
        self.finish(job, 75)
        self.assertEqual(job.log.read_text().count(": restart "), 2, job.log.read_text()[-6000:])

    def test_random_kills(self):
        seed = int(os.environ.get("LOCKSTEP_TEST_SEED", time.time()))
        draw = random.Random(seed)
        out, quiet = self.directory / "out", self.directory / "quiet"
        settings = ["--epochs", EPOCHS]
        self.settings = self.settings[:-2]
        started = time.monotonic()
        job = self.launch(RANKS, out, *settings, "--checkpoint-every-steps", 5, "--restarts", 9999,
                          "--restart-delay", 0, "--inject-fault",
                          f"slow@forward:rank=all,seconds={SECONDS_PER_STEP}")
        kills, barren = 0, False
        while job.poll() is None and time.monotonic() - started < KILLING_SECONDS:
            self.wait_for_restarts(job, kills)
            before = harness.checkpoints(out)
            time.sleep(draw.uniform(0, LONGEST_PAUSE))
            # launch/train gives up after two tries in a row without a checkpoint, as it should.
            while barren and harness.checkpoints(out) == before and job.poll() is None:
                time.sleep(0.01)
            barren = harness.checkpoints(out) == before
            kills += self.kill_one(job, draw)
        killing = time.monotonic() - started
        self.finish(job, 0, timeout=600)
        restarts = job.log.read_text().count(": restart ")
        print(f"seed {seed}: {kills} kills, {restarts} restarts, {time.monotonic() - started:.0f} s",
              file=sys.stderr)
        if LONG:
            self.assertGreaterEqual(killing, KILLING_SECONDS, "the job ended before the killing")
        self.assertGreaterEqual(kills, 30 if LONG else 2)

        self.expect(harness.run(RANKS, "train", "--out", quiet, *self.settings, *settings,
                                timeout=600), 0)
        self.assertEqual(harness.weights(quiet), harness.weights(out))
        for name in ("metrics.jsonl", "decisions.jsonl"):
            self.assertEqual(harness.records(quiet / name), harness.records(out / name))


if __name__ == "__main__":
    if LONG:
        sys.argv.remove("--long")
    harness.main()
