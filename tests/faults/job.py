"""One job of the fault tests: started bare or by launch/train, watched to its end, explained."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

for place in ("launch", "program"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / place))
import harness  # noqa: E402  (the path comes first)
import launched  # noqa: E402, F401

INJECTED = re.compile(r"warning: injected fault on rank")


def options(settings):
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


class Job:
    """Runs a command to its end; seconds count from the injected fault, else from the start."""

    def __init__(self, words, limit=90):
        self.limit = limit
        self.code, self.seconds, self.text = None, None, ""
        self.mark = f"LOCKSTEP_TEST_JOB={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, name: value})
        self.began = time.monotonic()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        lines = []
        for line in self.process.stderr:
            if INJECTED.search(line):
                self.began = time.monotonic()
            lines.append(line)
        self.text = "".join(lines)

    def wait(self):
        """Fails unless the job ends by itself and leaves no process behind."""
        try:
            self.code = self.process.wait(timeout=self.limit)
        except subprocess.TimeoutExpired:
            pass
        self.seconds = time.monotonic() - self.began
        # mpirun kills its ranks before it ends, but does not wait until they are gone.
        deadline = time.monotonic() + 5
        while (left := harness.processes_with(self.mark, "environ")) and self.code is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in left:
            os.kill(process, signal.SIGKILL)
        self.process.wait()
        self.reader.join()
        if self.code is None:
            raise AssertionError(f"still running after {self.limit} s:\n{self.text[-4000:]}")
        if left:
            raise AssertionError(f"{len(left)} processes were left behind:\n{self.text[-4000:]}")
        return self


def explain(ledgers):
    """What lockstep doctor makes of the ledgers of a dead job."""
    done = subprocess.run([str(harness.PROGRAM), "doctor", "--ledger", str(ledgers)], capture_output=True,
                          text=True, timeout=60)
    return done.stdout + done.stderr
