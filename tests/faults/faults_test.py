#!/usr/bin/env python3
"""The program under failures: it ends in time, with the documented code and a message that says who, where and
when, and the run that goes on from its checkpoints ends in the weights of the run never disturbed.

faults_test.py                     a choice of cases at 2 ranks
faults_test.py --long              every case, also at 4 ranks and under launch/train
faults_test.py --only TEXT         all of that for the cases with this text in their names, and shows each run
faults_test.py --write README.md   as --long, or as --only if given too, then puts the README's table right

Unless it writes, it compares what it finds with the README's table, but for the times.
"""

import argparse
import concurrent.futures
import re
import shlex
import shutil
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import special
import table
from cases import CASES, SETTINGS
from job import Job, explain, harness, launched, options
from readme_table import essence

# Most of a job's time is spent in waiting.
AT_ONCE = 4


class Runs:
    """The data, the undisturbed runs, and where everything lies."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="lockstep-faults-"))
        self.data = harness.write_small_mnist(self.directory / "data")
        self.launch = launched.make_root(self.directory / "root")
        self.lock = threading.Lock()
        self.references = {}

    def settings(self, case):
        return {"data": self.data, **dict(SETTINGS), **dict(case.settings)}

    def train(self, ranks, out, settings):
        done = harness.run(ranks, "train", *options({**settings, "out": out}))
        assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"

    def reference(self, case, ranks):
        """The weights of the undisturbed run with these settings."""
        key = (ranks, case.settings, case.lasting)
        with self.lock:
            future = self.references.get(key)
            mine = future is None
            if mine:
                future = self.references[key] = concurrent.futures.Future()
                out = self.directory / f"reference-{len(self.references)}"
        if mine:
            try:
                lasting = {"inject-fault": case.lasting.format(last=ranks - 1)} if case.lasting else {}
                self.train(ranks, out, {**self.settings(case), **lasting})
                future.set_result(harness.weights(out))
            except BaseException as error:
                future.set_exception(error)
        return future.result()


class Run:
    """One case at some number of ranks, bare or under launch/train."""

    def __init__(self, runs, case, ranks, launched):
        self.runs, self.case, self.ranks, self.launched = runs, case, ranks, launched
        words = re.sub("[^a-z0-9]+", "_", case.name.lower())
        self.name = f"{words}_{ranks}_ranks" + ("_under_launch_train" if launched else "")
        self.directory = runs.directory / self.name
        self.out = self.directory / "out"
        self.words, self.code, self.message, self.seconds = [], None, "", 0.0

    def command(self):
        case = self.case
        settings = {**self.runs.settings(case), "collective-timeout": case.timeout, "out": self.out,
                    "ledger-dir": self.directory / "ledgers", "log-level": "warning"}
        if case.faults:
            settings["inject-fault"] = case.faults.format(last=self.ranks - 1)
        program, launch = harness.PROGRAM, self.runs.launch
        if case.special:
            program, settings = special.program(case.special, self.ranks, settings, self.directory)
        if not self.launched:
            return harness.command(self.ranks, "train", *options(settings), program=program)
        if case.special:
            launch = launched.make_root(self.directory / "root", program)
        return [str(launch), "--config", str(launch.parents[1] / "empty.ini"), "--ranks", str(self.ranks),
                *options(settings)]

    def execute(self):
        self.directory.mkdir()
        self.words = self.command()
        job = Job(self.words).wait()
        self.code, self.seconds = job.code, job.seconds
        text = job.text
        if not self.launched and (self.directory / "ledgers").is_dir():
            text += explain(self.directory / "ledgers")
        try:
            self.check(job.code, text)
            self.check_resume()
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- what was said\n{text[-4000:]}") from None
        shutil.rmtree(self.directory)
        return self

    def check(self, code, text):
        case = self.case
        expected = case.launched if self.launched else case.code
        assert code == expected, f"code {code}, expected {expected}"
        if code == 0:
            assert "error" not in text, "a false alarm"
            return
        assert self.seconds <= case.within, f"{self.seconds:.1f} s, expected {case.within} s at most"
        pattern = case.message.replace("{last}", str(self.ranks - 1))
        for line in map(harness.shape, text.splitlines()):
            found = None if "warning: injected fault" in line else re.search(pattern, line)
            if found:
                self.message = essence(found)
                return
        raise AssertionError(f"nothing says '{pattern}'")

    def check_resume(self):
        case = self.case
        if case.saved is not None:
            left = harness.checkpoints(self.out) if self.out.exists() else []
            newest = int(left[-1].removeprefix("step-")) if left else 0
            expected = [case.saved, case.saved - 1] if case.cut else [case.saved]
            assert newest in expected, f"the newest checkpoint is of step {newest}, expected {expected}"
            self.runs.train(self.ranks, self.out, {**self.runs.settings(case), "resume": "auto"})
        assert harness.weights(self.out) == self.runs.reference(case, self.ranks), "other weights"


    def __str__(self):
        said = self.message or "nothing: the run goes on"
        return f"{self.case.name}, {self.ranks} ranks: {shlex.join(self.words)}\n" \
               f"    code {self.code} after {self.seconds:.1f} s: {said}"


def choose(runs, cases, everything):
    for case in cases:
        if everything or case.quick:
            yield Run(runs, case, 2, launched=False)
        if everything:
            yield Run(runs, case, 4, launched=False)
            yield Run(runs, case, 2, launched=True)
            yield Run(runs, case, 4, launched=True)


def make_tests(futures):
    """A method a run, which all are under way, a few side by side."""

    class Faults(unittest.TestCase):
        pass

    for name, future in futures.items():
        setattr(Faults, f"test_{name}", lambda self, future=future: future.result())
    return unittest.defaultTestLoader.loadTestsFromTestCase(Faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", metavar="TEXT")
    parser.add_argument("--write", metavar="README", type=Path)
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only is None or arguments.only.lower() in case.name.lower()]
    if not cases:
        parser.error(f"no failure has '{arguments.only}' in its name; there are {[case.name for case in CASES]}")
    if not harness.PROGRAM.exists():
        sys.exit(f"{harness.PROGRAM}: not built")
    runs = Runs()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {run.name: pool.submit(run.execute)
                   for run in choose(runs, cases, arguments.long or arguments.only or arguments.write)}
        code = harness.report(unittest.TextTestRunner(verbosity=2).run(make_tests(futures)))
    good, shown = code != 1, {}
    for run in (future.result() for future in futures.values() if future.exception() is None):
        if arguments.only:
            print(run)
        if not run.launched and run.ranks == 2:
            shown[run.case.name] = run
    if arguments.write and good:
        table.write(arguments.write, CASES, shown)
    elif not arguments.write:
        for fault in table.faults(cases, shown, whole=cases == CASES):
            print(fault, file=sys.stderr)
            good = False
    shutil.rmtree(runs.directory, ignore_errors=True)
    sys.exit(code if good else 1)


if __name__ == "__main__":
    main()
