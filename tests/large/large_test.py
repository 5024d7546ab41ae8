"""Many ranks on few cores: the results of few, no false alarm, and nothing that grows faster than it must.

--long: 32 ranks instead of 16.
"""

import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
import harness  # noqa: E402
from harness import HOST, PROGRAM, SOURCE, checkpoints, command, records, train, wait_for, weights  # noqa: E402

LONG = "--long" in sys.argv
RANKS = 32 if LONG else 16
MEASURE = SOURCE / "benchmarks" / "large_worlds" / "measure"
CONTROL = ("collect", "deliver")
HEADER = 64  # bytes before each payload of the control plane
ROW = 10 * 4  # bytes of one sample's prediction


class Large(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        self.data = harness.write_small_mnist(self.directory / "data", training=1200, test=100)
        self.settings = ["--model", "mlp", "--data", self.data, "--evaluation-batch", 10, "--log-every-steps", 5]

    def train(self, ranks, out, *options, batch=64, code=0):
        return self.expect(train(ranks, self.directory / out, "--batch-size", batch, *self.settings, *options), code)

    def lines(self, text):
        """What lockstep has said: mpirun adds a screen of its own."""
        return [line for line in text.splitlines() if re.match(r"error: |  ranks? \d|rank \d", line)]


class Exactness(Large):
    def test_preempted_among_many_and_resumed_among_few(self):
        """Ends in the bits of the run of two ranks that was never stopped."""
        options = ["--virtual-ranks", 32, "--epochs", 3, "--checkpoint-every-steps", 4]
        self.train(2, "whole", *options)
        moved = self.directory / "moved"
        # Slowed down, which changes no bit, so that the signal comes before the end.
        job = subprocess.Popen(command(RANKS, "train", "--threads", 1, "--out", moved, "--batch-size", 64, *self.settings,
                                       *options, "--inject-fault", "slow@forward:rank=0,seconds=0.02"),
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: list(moved.glob("checkpoints/step-????????")), "a checkpoint", 120)
        job.send_signal(signal.SIGUSR1)
        _, errors = job.communicate(timeout=120)
        self.assertEqual(job.returncode, 75, errors)
        stopped = int(checkpoints(moved)[-1].removeprefix("step-"))
        self.assertGreaterEqual(stopped, 4)
        self.assertLess(stopped, 51)
        self.train(2, "moved", *options, "--resume", "auto")
        whole = self.directory / "whole"
        self.assertEqual(weights(whole), weights(moved))
        for name in ("metrics.jsonl", "decisions.jsonl"):
            self.assertEqual(records(whole / name), records(moved / name))

    def test_fewer_samples_in_a_batch_than_ranks(self):
        options = ["--epochs", 1, "--optimizer", "sgd", "--learning-rate", "0.01"]
        found = {}
        many_ranks, batch = (RANKS, 12) if LONG else (8, 5)
        harness.write_small_mnist(self.data, training=300, test=50)
        for ranks in (1, many_ranks):
            self.train(ranks, f"of-{ranks}", *options, batch=batch)
            found[ranks] = [record for record in records(self.directory / f"of-{ranks}" / "metrics.jsonl")
                            if record["kind"] in ("train", "validation", "test")]
        self.assertEqual(len(found[1]), 3)
        for few, many in zip(found[1], found[many_ranks]):
            self.assertAlmostEqual(few["loss"], many["loss"], delta=1e-5 * few["loss"])
            self.assertEqual((few["kind"], few.get("samples")), (many["kind"], many.get("samples")))


class Failures(Large):
    def test_one_of_many_is_killed(self):
        victim = RANKS - 3
        result = self.train(RANKS, "out", "--inject-fault", f"kill@forward:rank={victim},step=3", code=137)
        host = re.escape(HOST)
        self.assertRegex(result.stderr, rf"rank {victim} \({host}\) (died|is gone) .* in phase training|"
                         # On crowded cores mpirun may end the others before they can tell.
                         rf"process rank {victim} with PID .* exited on signal 9")
        self.assertLess(len(self.lines(result.stderr)), 2 * RANKS)

    def test_one_of_many_hangs(self):
        """Every other one says whom it waits for, and does not tell of all of them."""
        victim = RANKS - 3
        result = self.train(RANKS, "out", "--collective-timeout", 5, "--inject-fault",
                            f"hang@forward:rank={victim},step=3", code=69)
        host = re.escape(HOST)
        self.assertRegex(result.stderr, rf"waiting for rank {victim} \({host}\)")
        self.assertRegex(result.stderr, rf"\n  rank {victim} \({host}\) is behind: in phase training")
        self.assertRegex(result.stderr, r"\n  ranks [-\d, ]+: told by lockstep doctor --ledger /")
        # The error itself, eight ranks, the others.
        self.assertLess(len(self.lines(result.stderr)), 11 * RANKS)


class Growth(harness.ProgramTest):
    """What must not grow with the number of ranks, or no faster than it has to."""

    def measure(self, *ranks, options=()):
        if harness.has_sanitizer():
            self.skipTest("the sanitizer has memory of its own, and comes before what counts messages")
        figures = self.directory / "figures.json"
        result = subprocess.run([sys.executable, MEASURE, "--lockstep", PROGRAM, "--counter", os.environ["LOCKSTEP_COUNTER"],
                                 "--ranks", ",".join(map(str, ranks)), "--json", figures, *options],
                                capture_output=True, text=True, timeout=600)
        self.expect(result, 0)
        print(f"\n{result.stdout}", file=sys.stderr)
        return json.loads(figures.read_text())

    def test_messages_and_memory(self):
        jobs = self.measure(2, RANKS // 4, RANKS)
        for job in jobs:
            self.assertEqual({found["steps"] for found in job["by_rank"]}, {job["steps"]})
            self.check_training(job)
            self.check_control_bytes(job)
            self.check_signs_of_life(job)
            self.check_inside_mpi(job)
        self.check_holdings(jobs)
        (sharing,) = self.measure(RANKS, options=["--shared-memory"])
        self.check_holdings([jobs[0], sharing])
        # What remains are the 16 bytes that ranks compare after each step, and MPI's own making of communicators.
        for found, sender in zip(sharing["by_rank"], jobs[-1]["by_rank"]):
            self.assertEqual(found["all"]["all_reduce"]["sent"], sharing["steps"])
            self.assertGreater(sender["all"]["all_reduce"]["sent"], sharing["steps"])
            self.assertLess(found["in_mpi"], sender["in_mpi"] - sharing["steps"])

    def check_training(self, job):
        """Between the first step and the last, records alone need the control plane: a word from each rank to
        the root and one back."""
        records_of_steps = job["records"] + 1  # one more, for what begins or ends in between
        for rank, found in enumerate(job["by_rank"]):
            sent = sum(found["training"][kind]["sent"] for kind in CONTROL)
            self.assertLessEqual(sent, records_of_steps * (job["ranks"] - 1 if rank == 0 else 1))

    def check_control_bytes(self, job):
        """Predictions reach the root once, whoever made them; nothing but the list of the ranks reaches every rank
        from every rank."""
        ranks = job["ranks"]
        collected = sum(found["all"]["collect"]["sent_bytes"] for found in job["by_rank"])
        # Of each a header alone comes, or a header and what it announces.
        operations = job["by_rank"][-1]["all"]["collect"]["sent"]
        self.assertLess(operations, 150)
        # A little with each word, for digests and the seconds of phases.
        self.assertLess(collected, job["evaluated"] * ROW + ranks * operations * (HEADER + 64))
        self.assertGreater(collected, job["evaluated"] * ROW * (ranks - 1) / ranks * 0.9)
        delivered = job["by_rank"][0]["all"]["deliver"]["sent_bytes"]
        self.assertLess(delivered, ranks * operations * (HEADER + 32) + ranks**2 * (16 + len(HOST)))

    def check_signs_of_life(self, job):
        """Once a second, and not from each rank to each."""
        for rank, found in enumerate(job["by_rank"]):
            seconds = found["end"] - found["mpi_started"]
            sent = found["all"]["pulse"]["sent"]
            if rank == 0:
                # And one to all wherever the root has waited for a late one.
                moments = seconds + found["all"]["deliver"]["sent"] / max(job["ranks"] - 1, 1)
                self.assertLessEqual(sent, (job["ranks"] - 1) * (2 + moments))
            else:
                self.assertLessEqual(sent, 2 + seconds)

    def check_inside_mpi(self, job):
        """Trees: no rank sends more messages than the logarithm of their number, nor more of the bytes. Two ranks send
        each other halves: one to add up, and the sum of the other."""
        if job["ranks"] == 1:
            return
        levels = math.ceil(math.log2(job["ranks"]))
        messages = 2 if job["ranks"] == 2 else levels
        for found in job["by_rank"]:
            operations = sum(found["all"][kind]["sent"] for kind in ("all_reduce", "broadcast"))
            volume = sum(found["all"][kind]["sent_bytes"] for kind in ("all_reduce", "broadcast"))
            # Messages above a MiB are cut. Making communicators takes some, too.
            pieces = operations + volume // 2**20
            self.assertLessEqual(found["in_mpi"], 1.2 * messages * pieces + 40 * levels)
            self.assertLessEqual(found["in_mpi_bytes"], 1.2 * levels * volume + 2**16)

    def check_holdings(self, jobs):
        few, many = jobs[0], jobs[-1]
        added = many["ranks"] - few["ranks"]

        def most(job, name):
            return max(found[name] for found in job["by_rank"])

        def median(job, name):
            return statistics.median(found[name] for found in job["by_rank"])

        # Open MPI keeps some for each rank that another talks to.
        self.assertLess(median(many, "own_kib"), median(few, "own_kib") + 4096 + 64 * added)
        self.assertLess(most(many, "own_kib"), most(few, "own_kib") + 8192 + 128 * added)
        self.assertLess(most(many, "peak_kib"), most(few, "peak_kib") + 16384 + 256 * added)
        self.assertLessEqual(most(many, "descriptors"), most(few, "descriptors") + 3)
        self.assertLessEqual(most(many, "threads"), most(few, "threads"))
        for job in jobs:
            self.assertEqual(len(job["ledgers"]), job["ranks"])
            self.assertEqual(set(job["ledgers"].values()), {512 + 128 * 64})

    def test_connections(self):
        """Over a network a rank is connected to as many others as the logarithm of their number, but for the root."""
        few, many = self.measure(4, RANKS, options=["--network", "tcp"])
        partners = [sorted(found["descriptors"] for found in job["by_rank"][1:]) for job in (few, many)]
        levels = math.log2(many["ranks"] / few["ranks"])
        self.assertLessEqual(partners[1][-1], partners[0][-1] + 4 * levels)


if __name__ == "__main__":
    if LONG:
        sys.argv.remove("--long")
    harness.main()
