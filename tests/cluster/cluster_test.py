#!/usr/bin/env python3
"""Training on two hosts over TCP, and what becomes of it when the network between them fails.

--long: throttled for longer.
"""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import two_hosts
from two_hosts import TwoHosts

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
import failure_table  # noqa: E402
import harness  # noqa: E402
from harness import wait_for  # noqa: E402

DEADLINE = 4  # seconds, --collective-timeout where the network does not come back
RANKS_PER_HOST = 2
LONG = "--long" in sys.argv
THROTTLED = 15 if LONG else 4  # seconds: a few steps, or one
# The beginning of src/comm/ledger_format.h: rank is the 4th field, end_ns the last.
LEDGER = struct.Struct("<8s2I4i2Q64sQq")


class Cluster(harness.ProgramTest):
    """A test with two hosts and what a run without any trouble ends in."""

    quiet = {}

    def setUp(self):
        super().setUp()
        self.data = harness.write_small_mnist(self.directory / "data", training=1200, test=100)
        self.hosts = TwoHosts([self.directory, harness.SOURCE, harness.PROGRAM.parent])
        self.addCleanup(self.hosts.close)
        for host in self.hosts.hosts:
            # Open MPI gives up a connection when the kernel does: by default after a quarter of an
            # hour, so after a quarter of a minute.
            host.run("sysctl", "-w", "net.ipv4.tcp_retries2=5")

    def start(self, out, *options, timeout=60, slow=True):
        """A job of two epochs of 27 steps; a slow one takes 50 ms a step, which changes no bit."""
        slowly = ("--inject-fault", "slow@forward:rank=0,seconds=0.05") if slow else ()
        words = self.hosts.mpirun(
            RANKS_PER_HOST, harness.PROGRAM, "train", "--model", "lenet", "--data", self.data,
            "--threads", 1, "--epochs", 2, "--batch-size", 40, "--log-every-steps", 5,
            "--checkpoint-every-steps", 8, "--collective-timeout", timeout, "--out",
            self.directory / out, *slowly, *options)
        # The hosts have a /tmp of their own; this one's path would be too long for some sockets.
        environment = {k: v for k, v in os.environ.items() if k != "TMPDIR"}
        job = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=environment)
        self.addCleanup(job.stdout.close)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        return job

    def finish(self, job, code, timeout=120):
        output, _ = job.communicate(timeout=timeout)
        self.assertEqual(job.returncode, code, output[-4000:])
        return output

    def quiet_weights(self):
        if not Cluster.quiet:
            self.finish(self.start("quiet", slow=False), 0)
            Cluster.quiet = harness.weights(self.directory / "quiet")
        return Cluster.quiet

    def await_step(self, out, step):
        metrics = self.directory / out / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and any(r["step"] >= step for r in
                                                  harness.records(metrics)), f"step {step}")

    @staticmethod
    def ledgers(host):
        return [path.read_bytes() for path in (host.root / "tmp").glob("lockstep-[0-9]*/*-rank-*")]

    def last_words(self, host):
        """The texts in the ledgers on this host: names of operations, and why its ranks ended."""
        return "\n".join(content.decode(errors="replace") for content in self.ledgers(host))

    def ends(self, host):
        """When each rank of this host ended, by what it has left in its ledger: seconds since 1970."""
        headers = [LEDGER.unpack_from(content) for content in self.ledgers(host)]
        return {header[3]: header[-1] * 1e-9 for header in headers}

    def expect_nothing_left(self, seconds):
        for host in self.hosts.hosts:
            wait_for(lambda host=host: not host.processes(),
                     f"the end of all processes of {host.name}: {host.processes()}", seconds)


class Outage(Cluster):
    def test_link_down_for_good(self):
        job = self.start("run", timeout=DEADLINE)
        self.await_step("run", 10)
        self.hosts.link("down")
        down, down_since_1970 = time.monotonic(), time.time()
        output = self.finish(job, 69)
        seconds = time.monotonic() - down
        # mpirun waits until the kernel gives up its connection to the other daemon; the ranks do not.
        self.assertLess(seconds, 60)
        ends = {rank: end - down_since_1970 for rank, end in self.ends(self.hosts.a).items()}
        self.assertEqual(set(ends), {0, 1})
        for end in ends.values():
            self.assertGreater(end, 0)
            self.assertLess(end, 10)
        print(f"[ranks end {max(ends.values()):.1f} s after the link, deadline {DEADLINE} s, mpirun after "
              f"{seconds:.1f} s] ", end="", file=sys.stderr, flush=True)
        # Mostly in an all-reduce; a checkpoint may have come between.
        self.assertRegex(output, r"(all_reduce|control) '[^']+'.* rank [01] \(node-a\)")
        self.assertRegex(output, r"(no word from|missing after).* ranks? 2\b.* \(node-b\)")
        self.assertRegex(output, r"ranks 2, 3 \(node-b\): no answer within \d\.\d s")
        self.assertRegex(output, r"rank 0 \(node-a\) has been in .* in phase (training|checkpoint)")
        failure_table.note(self, "network between two hosts down for good (`--collective-timeout 4`)", 69,
                           seconds=seconds, said=r"ranks 2, 3 \(node-b\): no answer within N s.*", text=output)
        self.expect_nothing_left(60)
        # The other side could tell nobody, but has written it down.
        self.assertRegex(self.last_words(self.hosts.b),
                         r"(no word from ranks 0, 1|rank 0) \(node-a\)")

        self.hosts.link("up")
        self.finish(self.start("run", "--resume", "auto", slow=False), 0)
        self.assertEqual(harness.weights(self.directory / "run"), self.quiet_weights())

    def test_link_down_for_three_seconds(self):
        job = self.start("run")
        self.await_step("run", 10)
        self.hosts.link("down")
        time.sleep(3)  # the outage itself
        self.hosts.link("up")
        self.finish(job, 0)
        self.assertEqual(harness.weights(self.directory / "run"), self.quiet_weights())
        self.expect_nothing_left(20)
        failure_table.note(self, "network between two hosts down for 3 s", 0)


class Throttling(Cluster):
    def test_one_megabit_for_a_while(self):
        job = self.start("run", timeout=120)
        self.await_step("run", 10)
        self.hosts.throttle("1mbit")
        time.sleep(THROTTLED)  # a step moves some 250 kB
        self.assertIsNone(job.poll())
        self.hosts.throttle(None)
        self.finish(job, 0, timeout=300)
        self.assertEqual(harness.weights(self.directory / "run"), self.quiet_weights())
        self.expect_nothing_left(20)
        failure_table.note(self, "network between two hosts throttled to 1 Mbit/s for 15 s", 0)


if __name__ == "__main__":
    reason = two_hosts.missing()
    if reason:
        harness.skip_all(reason)
    if LONG:
        sys.argv.remove("--long")
    harness.main()
