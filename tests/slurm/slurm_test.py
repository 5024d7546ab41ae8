"""launch/slurm/train.sbatch under a real Slurm of one node: preempted by hand and by its time limit,
a rank killed, requeued each time, and finished with the weights of a quiet run.

Needs root, and the packages slurm-wlm and munge; LOCKSTEP_TEST_INSTALL=1 (launch/test --long): they
are installed where they are missing.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "launch"))
import launched  # noqa: E402
import harness  # noqa: E402
import one_node  # noqa: E402


def ranks_of(out):
    """The processes that train into `out`."""
    result = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/lockstep") and str(out).encode() in words:
            result.append(int(path.parent.name))
    return result


class SlurmTest(launched.LaunchTest):
    def setUp(self):
        super().setUp()
        self.slurm = one_node.OneNode(self.directory / "slurm")
        self.addCleanup(self.slurm.close)

    def test_preempted_requeued_and_finished(self):
        out, quiet, log = (self.directory / name for name in ("out", "quiet", "job.log"))
        self.settings = [*self.settings[:-1], 20]  # epochs
        root = self.directory / "root"
        environment = ",".join(f"{name}={value}" for name, value in
                               {"LOCKSTEP_ROOT": root, **launched.MPI}.items())
        # USR1 half a minute after the start of each try, as far as Slurm's clock goes.
        answer = self.slurm.run(
            "sbatch", f"--export=ALL,{environment}", f"--output={log}", f"--chdir={self.directory}",
            "--nodes=1", "--ntasks-per-node=2", "--time=2", "--signal=B:USR1@90",
            root / "launch" / "slurm" / "train.sbatch", "--config", root / "empty.ini", "--out", out,
            *self.settings, "--checkpoint-every-steps", 10, "--restart-delay", 0,
            "--inject-fault", "slow@forward:rank=all,seconds=0.4")
        job = answer.split()[-1]

        def state():
            return self.slurm.job(job)["JobState"]

        def wait(condition, what):
            try:
                self.slurm.wait(condition, what, seconds=240)
            except TimeoutError:
                self.fail(f"not in time: {what}\n{self.slurm.job(job)}\n"
                          f"{log.read_text() if log.exists() else ''}")

        # A rank dies: the job goes on in place.
        wait(lambda: harness.checkpoints(out), "a checkpoint")
        os.kill(ranks_of(out)[-1], signal.SIGKILL)
        wait(lambda: "restart 1 of 3" in log.read_text(), "a restart in place")
        newest = harness.checkpoints(out)[-1]
        wait(lambda: harness.checkpoints(out)[-1] != newest, "a checkpoint after the restart")
        # Preempted by hand.
        self.slurm.run("scancel", "--batch", "--signal=USR1", job)
        wait(lambda: self.slurm.job(job)["Restarts"] == "1", "the job in the queue again")
        self.assertIn("preempted (75): back into the queue", log.read_text())
        # And from now on by its time limit, as often as it takes.
        wait(lambda: int(self.slurm.job(job)["Restarts"]) >= 2, "a preemption by the time limit")
        while state() not in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"):
            restarts = self.slurm.job(job)["Restarts"]
            wait(lambda: state() == "COMPLETED" or self.slurm.job(job)["Restarts"] != restarts or
                 state() in ("FAILED", "TIMEOUT", "CANCELLED"), "the end, or the next time limit")
        self.assertEqual(state(), "COMPLETED", log.read_text())
        self.assertEqual(ranks_of(out), [])

        self.expect(harness.run(2, "train", "--out", quiet, *self.settings, timeout=300), 0)
        self.assertEqual(harness.weights(quiet), harness.weights(out))
        for name in ("metrics.jsonl", "decisions.jsonl"):
            self.assertEqual(harness.records(quiet / name), harness.records(out / name))


def skip_unless_possible():
    install = os.environ.get("LOCKSTEP_TEST_INSTALL") == "1"
    missing = one_node.missing()
    if os.geteuid() != 0:
        reason = "starting slurmctld and slurmd needs root"
    elif missing and not install:
        reason = f"not installed: {', '.join(missing)} (Debian: {' '.join(one_node.PACKAGES)})"
    else:
        try:
            if missing:
                one_node.install()
            return
        except (OSError, subprocess.CalledProcessError) as error:
            reason = f"{' '.join(one_node.PACKAGES)} could not be installed: {error}"
    harness.skip_all(reason)


if __name__ == "__main__":
    skip_unless_possible()
    harness.main()
