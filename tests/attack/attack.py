"""What the attacks on checkpoints share: a small job and its processes, disks that can be spoilt,
and what a checkpoint is worth by its manifest, read without lockstep."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
from harness import (ProgramTest, checkpoints, command, records, train, wait_for,  # noqa: E402
                     weights, write_small_mnist)

DEADLINE = 120  # seconds for anything that is waited for


def good_checkpoints(out):
    """Names of the checkpoints that agree with their manifests, ascending; and of the others."""
    good, bad = [], []
    for name in checkpoints(out):
        directory = Path(out) / "checkpoints" / name
        try:
            line, seal = (directory / "MANIFEST.json").read_bytes().splitlines(keepends=True)
            manifest = json.loads(line)
            right = seal.decode() == hashlib.sha256(line).hexdigest() + "\n"
            right = right and f"step-{manifest['global_step']:08}" == name
            for entry in manifest["files"]:
                content = (directory / entry["name"]).read_bytes()
                right = right and len(content) == entry["size"]
                right = right and hashlib.sha256(content).hexdigest() == entry["sha256"]
        except (OSError, ValueError):
            right = False
        (good if right else bad).append(name)
    return good, bad


def children(pid):
    """All processes below pid, whatever their group."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX":
                parents[int(entry.name)] = int(fields[1])
    below, found = {pid}, []
    while below:
        below = {child for child, parent in parents.items() if parent in below}
        found += sorted(below)
    return found


class Job:
    """lockstep train in the background; nothing of it outlives its with statement."""

    # Notes each rank's own exit status, even when mpirun ends the job for another rank's.
    NOTE = 'trap "" TERM; "$@"; code=$?; echo $code >"$0/$OMPI_COMM_WORLD_RANK"; exit $code'

    def __init__(self, ranks, out, *arguments):
        self.seconds = None  # from count_from_now(), or the start, to the end
        self.errors = tempfile.TemporaryFile("w+")
        self.codes = tempfile.TemporaryDirectory()
        mpirun, n, count, *program = command(ranks, "train", "--out", out, "--threads", 1,
                                             *arguments)
        self.process = subprocess.Popen(
            [mpirun, n, count, "bash", "-c", self.NOTE, self.codes.name, *program],
            stdout=subprocess.DEVNULL, stderr=self.errors,
            env={**os.environ, "LOCKSTEP_TEST_GRACE": "2"})
        self.count_from_now()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill_all()
        self.errors.close()
        self.codes.cleanup()

    def count_from_now(self):
        self.began = time.monotonic()

    def rank_processes(self):
        """Process ids by rank, as far as they have started."""
        found = {}
        for pid in children(self.process.pid):
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            rank = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)", environment)
            if rank:
                found[int(rank.group(1))] = pid
        return found

    def kill_rank(self, rank):
        """SIGKILL to one rank; mpirun ends the others."""
        pid = self.rank_processes().get(rank)
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return self.end()

    def kill_all(self):
        """SIGKILL to every process of the job; what they wrote stays written."""
        pids = [*children(self.process.pid), self.process.pid]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pids[:-1]),
                 "the job's end", DEADLINE)
        return self.process.wait()

    def wait_for(self, condition, what):
        """As wait_for, but ends with the job."""
        value = wait_for(lambda: condition() or (self.process.poll() is not None and "ended"),
                         what, DEADLINE)
        if value == "ended":
            raise AssertionError(f"the job ended before {what}:\n{self.stderr()}")
        return value

    def end(self):
        """Waits for the job's own end; returns mpirun's code."""
        code = self.process.wait(timeout=DEADLINE)
        self.seconds = time.monotonic() - self.began
        return code

    def end_by_rank(self):
        """Likewise; returns the codes of the ranks, of mpirun last."""
        code = self.end()
        return [*(int(p.read_text()) for p in sorted(Path(self.codes.name).iterdir())), code]

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()


def mount(*arguments):
    """Why the mount was refused; nothing when it was not."""
    result = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    return result.stderr.strip() if result.returncode else ""


def unmount(directory):
    subprocess.run(["umount", "--lazy", directory], check=True)


class AttackTest(ProgramTest):
    """A job of 27 steps, in 3 epochs, on few images; quiet(ranks) is one that nobody disturbed."""
    STEPS = 27
    _class_directory = None

    @classmethod
    def setUpClass(cls):
        cls._class_directory = tempfile.TemporaryDirectory(prefix="lockstep-test-")
        cls.addClassCleanup(cls._class_directory.cleanup)
        cls.data = write_small_mnist(Path(cls._class_directory.name) / "data", 400, 50)
        cls.settings = ["--data", cls.data, "--model", "mlp", "--batch-size", 40, "--epochs", 3,
                        "--checkpoint-every-steps", 1, "--log-every-steps", 1]
        cls._quiet = {}

    def endless(self, checkpoints=True):
        """The settings of a job that does not end by itself, or makes only one checkpoint.

        It learns next to nothing: a later epoch that is better, and so brings a checkpoint, is unlikely."""
        settings = [*self.settings, "--min-delta", "0.9", "--learning-rate", "1e-7",
                    "--min-learning-rate", "1e-7"]
        settings[settings.index("--epochs") + 1] = 1000000
        if not checkpoints:
            settings[settings.index("--checkpoint-every-steps") + 1] = 0
            settings += ["--checkpoint-every-epochs", 1000000]
        return settings

    def quiet(self, ranks):
        if ranks not in self._quiet:
            out = Path(self._class_directory.name) / f"quiet-{ranks}"
            self.expect(train(ranks, out, *self.settings), 0)
            self._quiet[ranks] = out
        return self._quiet[ranks]

    def disk(self, size):
        """The directory of a small disk of its own; to be skipped where nothing can be mounted."""
        disk = self.directory / "disk"
        disk.mkdir()
        refusal = mount("-t", "tmpfs", "-o", f"size={size}", "lockstep-test", disk)
        if refusal:
            self.skipTest(f"no disk can be mounted here: {refusal}")
        self.addCleanup(unmount, disk)
        return disk

    def expect_sound(self, out):
        """Every checkpoint under its final name is good; returns their names."""
        good, bad = good_checkpoints(out)
        self.assertEqual(bad, [])
        return good

    def expect_as_quiet(self, ranks, out):
        quiet = self.quiet(ranks)
        self.assertEqual(weights(out), weights(quiet))
        self.assertEqual(*((run / "checkpoints/BEST").read_text() for run in (out, quiet)))
        self.expect_same_records(out, quiet)

    def expect_same_records(self, *runs):
        for name in ("metrics.jsonl", "decisions.jsonl"):
            self.assertEqual(*(records(out / name) for out in runs))

    def finish(self, ranks, out, *arguments):
        """Resumes to the end, which must be that of the quiet run, to the bit."""
        result = self.expect(train(ranks, out, *self.settings, "--resume", "auto", *arguments), 0)
        self.expect_as_quiet(ranks, out)
        return result

    def go_on(self, ranks, out, same_records=True):
        """Resumes an endless job for some steps and compares with one that was never disturbed."""
        steps = int(self.expect_sound(out)[-1][len("step-"):]) + 5
        settings = [*self.endless(checkpoints=False), "--max-steps", steps]
        self.expect(train(ranks, out, *settings, "--resume", "auto"), 75)
        quiet = self.directory / f"quiet-{out.name}"
        self.expect(train(ranks, quiet, *settings), 75)
        self.assertEqual(weights(out), weights(quiet))
        if same_records:
            self.expect_same_records(out, quiet)
