"""Jobs of which one rank is started differently from the others (mpirun -n 1 ... : -n 1 ...)."""

import shutil
import subprocess
import time
import unittest
from pathlib import Path

from job import harness, options

MEBIBYTE = 2 ** 20
FSYNC = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync"]


def require(words):
    if shutil.which(words[0]) is None or subprocess.run(words, capture_output=True).returncode != 0:
        raise unittest.SkipTest(f"does not work here: {' '.join(words)}")


def address_space(words):
    """The most address space that this command has taken at any moment, in bytes."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        try:
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmPeak"):
                    most = max(most, int(line.split()[1]) * 1024)
        except OSError:
            pass
        time.sleep(0.01)
    return most


def changed_copy(data, directory):
    """The data again, but for one label."""
    shutil.copytree(data, directory)
    labels = directory / "train-labels-idx1-ubyte"
    content = bytearray(labels.read_bytes())
    content[-1] = (content[-1] + 1) % 10
    labels.write_bytes(content)


def command(special, ranks, settings, directory):
    """The whole command line of a job with these settings."""
    program = [str(harness.PROGRAM), "train"]
    plain = [*program, *options(settings)]
    if special == "settings":
        first, last = plain, [*plain, "--seed", "2"]
    elif special == "memory":
        require(["prlimit", "--as=1000000000", "true"])
        small = {**settings, "model": "mlp", "batch-size": 225, "out": directory / "small"}
        usual = address_space([*program, *options(small)])
        first, last = plain, ["prlimit", f"--as={usual + 90 * MEBIBYTE}", *plain]
    elif special == "fsync":
        require([*FSYNC, "-e", "inject=fsync:delay_enter=1:when=1", "true"])
        first, last = [*FSYNC, "-e", "inject=fsync:delay_enter=60s:when=40", *plain], plain
    else:
        assert special == "data"
        here, there = directory / "here", directory / "there"
        shutil.copytree(settings["data"], here / "data")
        changed_copy(settings["data"], there / "data")
        same = [*program, *options({**settings, "data": "data"})]
        return [str(harness.MPIRUN), "-n", str(ranks - 1), "-wdir", str(here), *same,
                ":", "-n", "1", "-wdir", str(there), *same]
    middle = ["-n", str(ranks - 2), *plain, ":"] if ranks > 2 else []
    return [str(harness.MPIRUN), "-n", "1", *first, ":", *middle, "-n", "1", *last]
