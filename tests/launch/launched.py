"""launch/train as a user would start it, with the program under test and without building anything."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
import harness  # noqa: E402

# What tests/mpirun sets; launch/train starts mpirun itself.
MPI = {"OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
       "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl_base_warn_component_unused": "0",
       "OMPI_MCA_odls_base_sigkill_timeout": "0"}


def make_root(directory, program=harness.PROGRAM):
    """A folder in which launch/train finds everything built; returns its launch/train."""
    shutil.copytree(harness.SOURCE / "launch", directory / "launch")
    setup = directory / "launch" / "setup"
    setup.write_text("#!/bin/sh\n")
    setup.chmod(0o755)
    (directory / "configs").symlink_to(harness.SOURCE / "configs")
    (directory / "build").mkdir()
    (directory / "build" / "lockstep").symlink_to(program.resolve())
    (directory / "build" / "CMakeCache.txt").write_text("LOCKSTEP_CUDA:BOOL=OFF\n")
    config = directory / "empty.ini"
    config.write_text("")
    return directory / "launch" / "train"


def environment(**more):
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith(("OMPI_", "PMIX_", "PRTE_", "SLURM_"))}
    return {**inherited, **MPI, **more}


def children(parent):
    """The processes whose parent is `parent`: (id, name)."""
    result = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, tail = path.read_text().rsplit(")", 1)
        except OSError:
            continue  # has ended
        if int(tail.split()[1]) == parent and tail.split()[0] != "Z":
            number, name = head.split(" (", 1)
            result.append((int(number), name))
    return result


def mpirun_of(job):
    """The ids of the mpirun that a launch/train has started: none, or one. It is a grandchild."""
    return [pid for worker, _ in children(job.pid) for pid, name in children(worker)
            if name in ("mpirun", "orterun")]


class LaunchTest(harness.ProgramTest):
    """A test that starts launch/train on a small job, in its own directory."""

    variables = {}  # more of launch/train's environment

    def setUp(self):
        super().setUp()
        self.train = make_root(self.directory / "root")
        # 12 steps an epoch.
        self.settings = ["--data", harness.write_small_mnist(self.directory / "data"),
                         "--model", "mlp", "--batch-size", 225, "--threads", 1, "--epochs", 1000]

    def launch(self, ranks, out, *arguments):
        """Starts it; the result is a Popen whose output goes to its attribute `log`."""
        log = self.directory / f"{time.monotonic_ns()}.log"
        words = [self.train, "--config", self.directory / "root" / "empty.ini", "--ranks", ranks,
                 "--out", out, *self.settings, *arguments]
        with log.open("w") as file:
            job = subprocess.Popen(list(map(str, words)), stdout=file, stderr=subprocess.STDOUT,
                                   env=environment(**self.variables), start_new_session=True,
                                   cwd=self.directory)
        job.log = log
        self.addCleanup(self.end, job)
        return job

    @staticmethod
    def end(job):
        if job.poll() is None:
            for _ in range(3):
                job.send_signal(signal.SIGTERM)
                time.sleep(0.2)
            job.wait(timeout=60)

    def finish(self, job, code, timeout=120):
        self.assertEqual(job.wait(timeout=timeout), code, job.log.read_text()[-6000:])

    def expect_weights_of_the_quiet_run(self, ranks, out, *arguments):
        """Takes `out` three steps further; a run never stopped has the same weights there."""
        steps = int(harness.checkpoints(out)[-1][5:]) + 3
        self.finish(self.launch(ranks, out, *arguments, "--max-steps", steps, "--resume", "auto"), 75)
        quiet = self.directory / "quiet"
        self.expect(harness.run(ranks, "train", "--out", quiet, *self.settings, *arguments,
                                "--max-steps", steps, timeout=300), 75)
        self.assertEqual(harness.weights(quiet), harness.weights(out))
