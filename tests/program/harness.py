"""What the whole-program tests share: running lockstep under mpirun and reading what it wrote."""

import atexit
import gzip
import hashlib
import json
import mmap
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("LOCKSTEP_PROGRAM", SOURCE / "build" / "lockstep"))
# The same with networks that only tests want.
TEST_PROGRAM = Path(os.environ.get("LOCKSTEP_TEST_PROGRAM", PROGRAM.parent / "tests" / "program" /
                                   "lockstep_with_test_networks"))
MPIRUN = SOURCE / "tests" / "mpirun"
FASHION = Path(os.environ.get("LOCKSTEP_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
SKIPPED = 77  # exit status where no test could run
# What looks for leaks at a process's end cannot where strace traces it.
TRACED = {"ASAN_OPTIONS": "detect_leaks=0"}
HOST = socket.gethostname()
# Jobs that are ended leave their ledgers: here, and not in the system's folder.
SCRATCH = tempfile.mkdtemp(prefix="lockstep-jobs-")
os.environ["TMPDIR"] = SCRATCH
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
# Who is started in the background ignores these, and would hand that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def command(ranks, *arguments, program=PROGRAM):
    return [str(MPIRUN), "-n", str(ranks), str(program), *map(str, arguments)]


def run(ranks, *arguments, timeout=120, cwd=None, environment=None, program=PROGRAM):
    """Runs lockstep to its end; the result has returncode, stdout and stderr."""
    if has_sanitizer(program):
        timeout *= 4
    # After a code other than 0 mpirun waits a second before it kills what is left: here nothing is.
    settings = {"LOCKSTEP_TEST_GRACE": "0", **(environment or {})}
    return subprocess.run(command(ranks, *arguments, program=program), capture_output=True,
                          text=True, cwd=cwd,
                          timeout=timeout, env={**os.environ, **settings})


def train(ranks, out, *arguments, **options):
    return run(ranks, "train", "--out", out, "--threads", 1, *arguments, **options)


def read_idx(name):
    """(shape, bytes) of one of the embedded MNIST's files."""
    content = gzip.decompress((SOURCE / "data" / "mnist" / f"{name}.gz").read_bytes())
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4:4 + 4 * dimensions])
    return shape, content[4 + 4 * dimensions:]


def idx_bytes(shape, content):
    return struct.pack(f">I{len(shape)}I", 0x800 + len(shape), *shape) + content


def write_small_mnist(directory, training=3000, test=500):
    """The first images of MNIST as IDX files: a job on them takes seconds."""
    directory.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", training), ("t10k", test)):
        (_, height, width), pixels = read_idx(f"{part}-images-idx3-ubyte")
        _, labels = read_idx(f"{part}-labels-idx1-ubyte")
        (directory / f"{part}-images-idx3-ubyte").write_bytes(
            idx_bytes((count, height, width), pixels[:count * height * width]))
        (directory / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes((count,), labels[:count]))
    return directory


def write_csv(path, images, labels, header=True, end="\n"):
    """The known recipe's form: label,pixel0,...,pixel783."""
    size = len(images) // len(labels)
    lines = ["label," + ",".join(f"pixel{i}" for i in range(size))] if header else []
    for i, label in enumerate(labels):
        lines.append(",".join(map(str, (label, *images[i * size:(i + 1) * size]))))
    path.write_text(end.join(lines) + end, newline="")
    return path


def read_safetensors(path):
    """{name: (shape, values)} of a file, by nothing but the format's description."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        letter = {"F32": "f", "U8": "B", "I64": "q"}[entry["dtype"]]
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        count = (end - begin) // struct.calcsize(f"<{letter}")
        tensors[name] = (entry["shape"], struct.unpack(f"<{count}{letter}", content[begin:end]))
    return tensors


def records(path):
    """The records of a .jsonl file without what depends on time."""
    result = []
    for line in Path(path).read_text().splitlines():
        record = json.loads(line)
        record.pop("seconds", None)
        record.pop("samples_per_second", None)
        result.append(record)
    return result


def shape(text):
    """A message without what differs from run to run and from machine to machine."""
    text = re.sub(rf"\b{re.escape(HOST)}\b", "host", text)
    text = re.sub(r"\b\d+(\.\d+)? s\b", "N s", text)
    return re.sub(r"\s+", " ", text).strip()


def wait_for(condition, what, seconds=60):
    """The first true value of condition(); AssertionError when none has come in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {seconds} s: {what}")


def processes_with(text, file):
    """Ids of the processes that have `text` in their "environ" or "cmdline"."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (entry / file).read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def has_sanitizer(program=PROGRAM):
    """Whether a program was built with AddressSanitizer, which takes terabytes of address space."""
    with open(program, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"__asan_init") >= 0


def find_python(modules, *candidates):
    """The first of these commands that runs a Python with the modules, or None."""
    for python in filter(None, candidates):
        try:
            check = subprocess.run([python, "-c", f"import {modules}"], capture_output=True)
        except OSError:
            continue
        if check.returncode == 0:
            return python
    return None


def checkpoints(out):
    return sorted(p.name for p in (Path(out) / "checkpoints").glob("step-????????"))


def weights(out, step=None):
    """SHA-256 by file of the tensors in a checkpoint; the newest one without a step."""
    name = step if step else checkpoints(out)[-1]
    directory = Path(out) / "checkpoints" / name
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(directory.glob("*.safetensors"))}


class ProgramTest(unittest.TestCase):
    """A test with a directory of its own, removed unless the test failed."""

    def setUp(self):
        self.directory = Path(tempfile.mkdtemp(prefix="lockstep-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def expect(self, result, code):
        self.assertEqual(result.returncode, code,
                         f"\n--- stdout\n{(result.stdout or '')[-3000:]}\n--- stderr\n{result.stderr[-3000:]}")
        return result


def report(result):
    """The exit status for unittest's result; what was skipped, and why, goes to stderr for launch/test."""
    for test, reason in result.skipped:
        print(f"skipped: {test.id().removeprefix('__main__.')}: {reason}", file=sys.stderr)
    if not result.wasSuccessful():
        return 1
    return SKIPPED if 0 < len(result.skipped) >= result.testsRun else 0


def skip_all(reason):
    """Ends a program none of whose tests can run here."""
    print(f"skipped: {Path(sys.argv[0]).stem}: {reason}", file=sys.stderr)
    sys.exit(SKIPPED)


def main():
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM}: not built")
    sys.exit(report(unittest.main(verbosity=2, exit=False).result))
