"""Jobs of which one rank is started differently from the others: by a script in the program's place."""

import shlex
import shutil
import subprocess
import time
import unittest
from pathlib import Path

from job import harness, options

MEBIBYTE = 2 ** 20
FSYNC = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync"]

# $1: what comes before the program's name; $2: what comes after its arguments; $3: where it runs.
SCRIPT = """#!/bin/bash
start() {{ cd "$3" && exec $1 {program} "${{words[@]}}" $2; }}
words=("$@")
if [[ "${{OMPI_COMM_WORLD_RANK:-}}" == {rank} ]]; then start {odd}; fi
start "" "" {place}
"""


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


def program(special, ranks, settings, directory):
    """What to start instead of the program, with the settings that come back; all in `directory`."""
    rank, before, after, place, odd_place = ranks - 1, [], "", directory, directory
    if special == "settings":
        after = "--seed 2"
    elif special == "memory":
        require(["prlimit", "--as=1000000000", "true"])
        if harness.has_sanitizer():
            raise unittest.SkipTest("the sanitizer needs its address space")
        small = {**settings, "model": "mlp", "batch-size": 225, "out": directory / "small"}
        usual = address_space([str(harness.PROGRAM), "train", *options(small)])
        # That was the root: the thread that writes checkpoints has 8 MiB of stack and reserves 128 MiB for its heap.
        usual -= 136 * MEBIBYTE
        before = ["prlimit", f"--as={usual + 90 * MEBIBYTE}"]
    elif special == "fsync":
        require([*FSYNC, "-e", "inject=fsync:delay_enter=1:when=1", "true"])
        rank, before = 0, [*FSYNC, "-e", "inject=fsync:delay_enter=60s:when=42"]
    else:
        assert special == "data"
        place, odd_place = directory / "here", directory / "there"
        shutil.copytree(settings["data"], place / "data")
        changed_copy(settings["data"], odd_place / "data")
        settings = {**settings, "data": "data"}
    odd = shlex.join([shlex.join(before), after, str(odd_place)])
    script = directory / "lockstep"
    script.write_text(SCRIPT.format(program=shlex.quote(str(harness.PROGRAM)), rank=rank, odd=odd,
                                    place=shlex.quote(str(place))))
    script.chmod(0o755)
    return script, settings
