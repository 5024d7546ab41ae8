"""What tests/gpu/run does after building: checks on GPUs, measurements, one Markdown table.

Everything runs through one list of checks whose programs and sizes a Plan holds, so that a dry run on
a CPU takes the same path."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests" / "program"))
sys.path.insert(0, str(SOURCE / "benchmarks"))
import machine  # noqa: E402

EXIT_FAILED = 76
LOSS_TOLERANCE = 1e-3  # float32 sums in another order, over 20 steps; TF32 would be off by more
JOB_SECONDS = 900


class Failure(Exception):
    """A check found something wrong."""


class Skipped(Exception):
    """A check needs what is not here."""


class Plan:
    """What differs between a run on GPUs and a dry run."""

    def __init__(self, build, ranks, gpus, dry):
        self.build, self.ranks, self.gpus, self.dry = build, ranks, gpus, dry
        self.device, self.backend = ("cpu", "mpi") if dry else ("cuda", "nccl")
        self.model = "mlp" if dry else "digits-cnn"
        self.with_buffers = "mlp" if dry else "batchnorm-cnn"  # too slow for a CPU here
        self.conformance = "comm_conformance_test" if dry else "comm_nccl_test"
        self.optimizer = "optimizer_test" if dry else "optimizer_device_test"
        self.networks = "model_test" if dry else "model_device_test"
        self.epochs = 2 if dry else 3
        self.stall_deadline = 5 if dry else 30  # CUDA, cuDNN and NCCL take seconds to start
        self.batches = [86] if dry else [86, 1024]
        self.bench = ["--steps", 4, "--rounds", 1] if dry else ["--steps", 200, "--rounds", 3]
        self.on_device = ["--device", self.device, "--backend", self.backend]
        if dry:
            self.on_device += ["--threads", 1]  # a CPU's sums depend on it
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def test_program(self, module, name):
        program = self.build / "tests" / module / name
        if not program.exists():
            raise Failure(f"{program} is not built")
        return program

    def rank_counts(self, most=None):
        """1, 2, 4, ... and the number of all GPUs."""
        most = min(self.ranks, most or self.ranks)
        counts = {most}
        count = 1
        while count <= most:
            counts.add(count)
            count *= 2
        return sorted(counts)

    def whole(self):
        return [self.ranks] if self.dry else sorted({1, self.ranks})


def output_of(*command, **options):
    """The output of a command that describes the machine, or an empty string."""
    try:
        return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              timeout=60, check=True, **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def first_line(text):
    return text.splitlines()[0] if text else "unknown"


def cache_entry(build, name):
    for line in (build / "CMakeCache.txt").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split("=", 1)[1]
    return ""


def nccl_version(build):
    header = Path(cache_entry(build, "NCCL_INCLUDE_DIR")) / "nccl.h"
    if not header.is_file():
        return "none in this build"
    text = header.read_text()
    parts = [re.search(rf"define NCCL_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    return ".".join(part.group(1) for part in parts) + f" ({cache_entry(build, 'NCCL_LIBRARY')})"


def describe_machine(plan):
    gpus = output_of("nvidia-smi", "--query-gpu=index,name,memory.total,driver_version",
                     "--format=csv,noheader")
    commit = output_of("git", "-C", SOURCE, "describe", "--always", "--dirty", "--abbrev=12")
    nvcc = cache_entry(plan.build, "CMAKE_CUDA_COMPILER")
    yield "date (UTC)", time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    yield "commit", commit or "unknown"
    yield "processor", f"{machine.processor()}, {len(os.sched_getaffinity(0))} CPUs usable"
    yield "system", f"{os.uname().sysname} {os.uname().release}"
    yield "GPUs (index, name, memory, driver)", "; ".join(gpus.splitlines()) or "none"
    yield "GPUs used", "none: a dry run on the CPU" if plan.dry else str(plan.ranks)
    yield "CUDA toolkit", output_of(nvcc, "--version").splitlines()[-1] if nvcc else "none in this build"
    yield "NCCL", nccl_version(plan.build)
    yield "lockstep", first_line(output_of(plan.build / "lockstep", "--version"))
    yield "links between GPUs", describe_links()


def describe_links():
    """How the first GPU reaches each of the others: NV4, PIX, SYS, ..."""
    for line in output_of("nvidia-smi", "topo", "-m").splitlines():
        if line.startswith("GPU0") and "X" in line.split():  # not the head of the table
            known = r"X|NV\d+|PIX|PXB|PHB|NODE|SYS"
            return " ".join(word for word in line.split()[1:] if re.fullmatch(known, word))
    return "unknown"


class Suite:
    def __init__(self, plan, directory):
        self.plan, self.directory = plan, directory
        os.environ["LOCKSTEP_PROGRAM"] = str(plan.build / "lockstep")
        import harness  # reads LOCKSTEP_PROGRAM when it is imported
        self.harness = harness
        self.data = harness.write_small_mnist(directory / "data")
        self.runs = 0

    # ------------------------------------------------------------------------------------- running

    def lockstep(self, ranks, *arguments, code=0, timeout=JOB_SECONDS):
        try:
            result = self.harness.run(ranks, *arguments, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{ranks} rank(s) of lockstep {arguments[0]} did not end within "
                          f"{timeout} s") from late
        if result.returncode != code:
            raise Failure(f"{ranks} rank(s) of lockstep {' '.join(map(str, arguments))}: exit "
                          f"{result.returncode}, expected {code}\n{result.stdout[-2000:]}\n"
                          f"{result.stderr[-4000:]}")
        return result

    def train(self, ranks, *arguments, out=None, code=0, where=None, model=None):
        """The run directory of a job on the small data set."""
        if out is None:
            self.runs += 1
            out = self.directory / f"run-{self.runs}"
        self.lockstep(ranks, "train", "--out", out, "--model", model or self.plan.model, "--data", self.data,
                      *(self.plan.on_device if where is None else where), *arguments, code=code)
        return out

    def test_program(self, program, ranks=None):
        command = [str(program)]
        if ranks:
            command = [str(SOURCE / "tests" / "mpirun"), "-n", str(ranks), *command]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=JOB_SECONDS,
                                    env={**os.environ, "GTEST_COLOR": "no"})
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{program.name} did not end within {JOB_SECONDS} s") from late
        if result.returncode != 0:
            raise Failure(f"{program.name}: exit {result.returncode}\n{result.stdout[-4000:]}\n"
                          f"{result.stderr[-4000:]}")
        passed = re.search(r"\[  PASSED  \] (\d+) test", result.stdout)
        # Some tests need another number of ranks; none may want a GPU.
        if not passed or passed.group(1) == "0" or re.search("no GPU|needs a GPU", result.stdout):
            raise Failure(f"{program.name} skipped tests that must run here\n{result.stdout[-2000:]}")
        return f"{passed.group(1)} tests"

    def same(self, one, other, what):
        """Two runs: weights, optimizer, metrics and decisions apart from times."""
        harness = self.harness
        if harness.weights(one) != harness.weights(other):
            raise Failure(f"{what}: the checkpoints differ: {harness.weights(one)} and "
                          f"{harness.weights(other)}")
        for name in ("metrics.jsonl", "decisions.jsonl"):
            if harness.records(one / name) != harness.records(other / name):
                raise Failure(f"{what}: {name} differs")

    # -------------------------------------------------------------------------------------- checks

    def conformance(self, ranks):
        return self.test_program(self.plan.test_program("comm", self.plan.conformance), ranks)

    def optimizers(self, _):
        return self.test_program(self.plan.test_program("optim", self.plan.optimizer))

    def networks(self, _):
        return self.test_program(self.plan.test_program("model", self.plan.networks))

    def choice_of_device(self, ranks):
        """--device auto takes the GPUs, and one rank too many is refused."""
        out = self.train(ranks, "--max-steps", 2, code=75, where=[] if not self.plan.dry else None)
        launch = json.loads((out / "launch.json").read_text())
        if not launch["numerics"].startswith(self.plan.device) or launch["backend"] != self.plan.backend:
            raise Failure(f"launch.json says {launch['numerics']}, {launch['backend']}")
        result = self.lockstep(self.plan.gpus + 1, "train", "--device", "cuda", "--max-steps", 1, "--out",
                               self.directory / "refused", "--data", self.data, code=64)
        if not self.plan.dry and "would share GPU" not in result.stderr:
            raise Failure(f"one rank too many: {result.stderr[-2000:]}")
        return launch["numerics"]

    def resume(self, ranks):
        """Stopped in mid-epoch and at an epoch's end, and resumed: the bits of the whole run."""
        settings = ["--epochs", self.plan.epochs, "--batch-size", 225, "--ema-decay", "0.9"]
        whole = self.train(ranks, *settings)
        parts = self.train(ranks, *settings, "--max-steps", 7, code=75)
        self.train(ranks, *settings, "--max-steps", 12, "--resume", "auto", out=parts, code=75)
        self.train(ranks, *settings, "--resume", "auto", out=parts)
        self.same(whole, parts, "resumed")
        return f"{self.plan.epochs} epochs, stopped twice"

    def virtual_ranks(self, ranks):
        """The same bits at 1, 2, 4, ... ranks, and again."""
        counts = [count for count in self.plan.rank_counts() if count & (count - 1) == 0]
        shards = max(4, counts[-1])
        settings = ["--epochs", 1, "--batch-size", 225, "--virtual-ranks", shards]
        first = self.train(1, *settings)
        for count in counts[1:] or [1]:
            self.same(first, self.train(count, *settings), f"1 and {count} ranks")
        settings += ["--accumulate", 2, "--clip-norm", 1, "--reduce-dtype", "bfloat16"]
        self.same(self.train(1, *settings), self.train(counts[-1], *settings),
                  f"in pieces, clipped, of 16 bits at 1 and {counts[-1]} ranks")
        return f"{shards} virtual ranks on {', '.join(map(str, counts[1:] or [1]))} and 1"

    def replayed_steps(self, ranks):
        """CUDA graphs give the bits of operators that are launched one by one."""
        cases = [(self.plan.model, []), (self.plan.model, ["--accumulate", 3]), (self.plan.with_buffers, [])]
        if ranks & (ranks - 1) == 0:
            cases.append((self.plan.model, ["--virtual-ranks", max(4, ranks)]))
        for model, case in cases:
            settings = ["--epochs", 2, "--batch-size", 225, *case]
            replayed, launched = (self.train(ranks, *settings, "--cuda-graphs", graphs, model=model)
                                  for graphs in ("true", "false"))
            self.same(replayed, launched, f"{model} {' '.join(map(str, case))}, replayed and launched")
            if json.loads((replayed / "launch.json").read_text())["cuda_graphs"] == self.plan.dry:
                raise Failure(f"{model}: launch.json does not say what was to be done")
        return f"{len(cases)} kinds of steps, replayed and launched"

    def evaluate(self, ranks):
        """The recorded test metrics again, at any number of ranks, and nearly so on the CPU."""
        out = self.train(ranks, "--epochs", 1)
        recorded = [r for r in self.harness.records(out / "metrics.jsonl") if r["kind"] == "test"][0]
        arguments = ["evaluate", "--checkpoint", out, "--data", self.data, "--json"]
        device = ["--device", self.plan.device]
        for count in self.plan.whole():
            result = json.loads(self.lockstep(count, *arguments, *device).stdout)
            for key in ("loss", "accuracy", "confusion"):
                if result[key] != recorded[key]:
                    raise Failure(f"{count} rank(s): {key} is {result[key]}, recorded {recorded[key]}")
        on_cpu = json.loads(self.lockstep(1, *arguments, "--device", "cpu").stdout)
        if abs(on_cpu["loss"] - recorded["loss"]) > LOSS_TOLERANCE * recorded["loss"]:
            raise Failure(f"loss {recorded['loss']}, on the CPU {on_cpu['loss']}")
        return f"accuracy {100 * recorded['accuracy']:.2f} % after an epoch of 2,700 images"

    def losses(self, ranks):
        """The first 20 steps of SGD beside those of the CPU, with dropout and augmentation."""
        def first_losses(count, where):
            out = self.train(count, "--optimizer", "sgd", "--learning-rate", "0.05", "--max-steps", 20,
                             "--batch-size", 86, "--log-every-steps", 1, code=75, where=where)
            return [r["loss"] for r in self.harness.records(out / "metrics.jsonl") if r["kind"] == "step"]

        expected = first_losses(1, ["--device", "cpu", "--backend", "mpi"])
        found = first_losses(ranks, None)
        if len(expected) != 20 or len(found) != 20:
            raise Failure(f"{len(expected)} and {len(found)} step records instead of 20")
        worst = max(abs(a - b) / b for a, b in zip(found, expected))
        if not worst <= LOSS_TOLERANCE:
            raise Failure(f"relative difference {worst:.2e}\nCPU {expected}\nfound {found}")
        return f"largest relative difference {worst:.1e} (loss {expected[0]:.4f} to {expected[-1]:.4f})"

    def stalled_rank(self, ranks):
        """A rank that stands still: the others end with 69 soon after the deadline."""
        if ranks < 2:
            raise Skipped("needs two ranks")
        deadline = self.plan.stall_deadline
        command = self.harness.command(ranks, "train", "--out", self.directory / "stalled", "--model",
                                       self.plan.model, "--data", self.data, *self.plan.on_device,
                                       "--epochs", 1000000, "--collective-timeout", deadline)
        job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        stalled = None
        try:
            checkpoints = self.directory / "stalled" / "checkpoints"
            self.wait_for(lambda: job.poll() is not None or list(checkpoints.glob("step-*")), 120)
            if job.poll() is not None:
                raise Failure(f"ended by itself with {job.returncode}\n{job.communicate()[1][-4000:]}")
            if not list(checkpoints.glob("step-*")):
                raise Failure("no checkpoint of the first epoch within 120 s")
            stalled = self.rank_of(job.pid, 1)
            os.kill(stalled, signal.SIGSTOP)
            begin = time.monotonic()
            try:
                _, errors = job.communicate(timeout=4 * deadline)
            except subprocess.TimeoutExpired as late:
                raise Failure(f"still running {4 * deadline} s after rank 1 stood still") from late
            seconds = time.monotonic() - begin
            if job.returncode != 69:
                raise Failure(f"exit {job.returncode}, expected 69\n{errors[-4000:]}")
            return f"ended after {seconds:.1f} s, deadline {deadline} s"
        finally:
            if job.poll() is None:
                job.kill()
                job.communicate()
            if stalled is not None:
                try:
                    os.kill(stalled, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    @staticmethod
    def wait_for(condition, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not condition():
            time.sleep(0.05)

    @staticmethod
    def rank_of(launcher, rank):
        """The process id of a rank that this launcher started."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                environment = (entry / "environ").read_bytes().split(b"\0")
            except (OSError, IndexError, ValueError):
                continue
            if parent == launcher and f"OMPI_COMM_WORLD_RANK={rank}".encode() in environment:
                return int(entry.name)
        raise Failure(f"rank {rank} was not found among the processes")

    def checks(self):
        plan = self.plan
        for ranks in plan.whole() if plan.dry else plan.rank_counts(most=4):
            yield f"conformance of the {plan.backend} backend", ranks, self.conformance
        yield "optimizers, bit for bit the host's", 1, self.optimizers
        yield "dropout masks and networks against the host", 1, self.networks
        yield "choice of device", plan.ranks, self.choice_of_device
        for ranks in plan.whole():
            yield "resume is exact", ranks, self.resume
        yield "virtual ranks", plan.ranks, self.virtual_ranks
        for ranks in plan.whole():
            yield "steps that are replayed", ranks, self.replayed_steps
        yield "evaluate", plan.ranks, self.evaluate
        for ranks in plan.whole():
            yield "losses of 20 SGD steps, CPU against here", ranks, self.losses
        yield "a stalled rank", plan.ranks, self.stalled_rank

    # -------------------------------------------------------------------------------- measurements

    def rates(self, batch):
        """(what, ranks, text) of strong and weak scaling at one batch size."""
        # Not under mpirun: it starts that itself.
        command = [str(self.plan.build / "lockstep"), "bench", "scaling", "--json", "--model",
                   self.plan.model, "--batch-size", batch, "--ranks",
                   ",".join(map(str, self.plan.rank_counts())), *self.plan.bench, *self.plan.on_device]
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                                timeout=4 * JOB_SECONDS)
        if result.returncode != 0:
            raise Failure(f"lockstep bench: exit {result.returncode}\n{result.stderr[-4000:]}")
        for row in json.loads(result.stdout)["results"]:
            shares = ", ".join(f"{part} {100 * ms / row['step_ms']:.0f} %" for part, ms in row["parts_ms"].items())
            yield (f"{row['scaling']} scaling, global batch {row['global_batch']}", row["ranks"],
                   f"{row['samples_per_second']:,.0f} images/s, efficiency {100 * row['efficiency']:.0f} % ({shares})")


def cell(value):
    return str(value).replace("|", "\\|").replace("\n", " ")


def row(kind, what, ranks, result):
    return f"| {kind} | {cell(what)} | {ranks} | {cell(result)} |"


def run_all(plan, directory):
    """The table's rows, and whether every check passed."""
    rows = [row("machine", what, "", value) for what, value in describe_machine(plan)]
    suite = Suite(plan, directory)
    good = True

    def note(text):
        print(text, file=sys.stderr, flush=True)

    for what, ranks, check in suite.checks():
        begin = time.monotonic()
        try:
            result = "passed: " + check(ranks)
        except Skipped as reason:
            result = f"skipped: {reason}"
        except Failure as failure:
            good = False
            note(f"--- {what}\n{failure}\n---")
            result = "FAILED: " + str(failure).splitlines()[0][:200]
        seconds = time.monotonic() - begin
        note(f"{what} ({ranks}): {result} [{seconds:.1f} s]")
        rows.append(row("check", what, ranks, result))
    for batch in plan.batches:
        try:
            for what, ranks, text in suite.rates(batch):
                note(f"{what} ({ranks}): {text}")
                rows.append(row("rate", what, ranks, text))
        except (Failure, subprocess.TimeoutExpired) as failure:
            good = False
            note(f"--- rates at batch {batch}\n{failure}\n---")
            rows.append(row("rate", f"batch {batch}", "", "FAILED: " + str(failure).splitlines()[0][:200]))
    return rows, good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    plan = Plan(options.build.resolve(), options.ranks, options.gpus, options.dry)
    directory = Path(tempfile.mkdtemp(prefix="lockstep-gpu-"))
    try:
        rows, good = run_all(plan, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    title = "lockstep on GPUs" + (" (dry run on a CPU: tests the script only)" if plan.dry else "")
    text = "\n".join([f"# {title}", "", "| kind | what | ranks | result |", "| --- | --- | --- | --- |",
                      *rows, "", "All checks passed." if good else "**Some checks failed.**", ""])
    print(text, end="", flush=True)
    if options.out:
        options.out.write_text(text)
    return 0 if good else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
