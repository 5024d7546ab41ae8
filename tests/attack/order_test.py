#!/usr/bin/env python3
"""The order of writes and fsyncs of a real run's checkpoints, read from strace."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from attack import AttackTest
from harness import MPIRUN, PROGRAM, TRACED, main, skip_all

CALLS = ("openat,open,creat,write,pwrite64,writev,fsync,fdatasync,"
         "rename,renameat,renameat2,mkdir,mkdirat,close")


class Trace:
    """What a program did below one directory: (verb, path[, path to]), paths relative to it. Its threads take turns."""

    def __init__(self, text, directory):
        self.operations = []
        self.steps = {}  # of the records that were written, by the index of the operation
        names = {}  # by file descriptor, of what is open
        unfinished = {}
        prefix = f"{directory}/"
        for line in text.splitlines():
            process, _, call = line.partition(" ")
            call = call.strip()
            if call.endswith("<unfinished ...>"):
                unfinished[process] = call[:-len("<unfinished ...>")]
                closed = re.match(r"close\((\d+)", call)
                if closed:  # another thread may be given that number before this one goes on
                    names.pop(int(closed.group(1)), None)
                    unfinished[process] = ""
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
            if resumed:
                call = unfinished.pop(process, "") + resumed.group(1)
            match = re.match(r"(\w+)\((.*)\)\s+= (-?\d+)", call)
            if not match or int(match.group(3)) < 0:
                continue
            verb, arguments, result = match.group(1), match.group(2), int(match.group(3))
            paths = [p.removeprefix(prefix) if p.startswith(prefix) else None
                     for p in re.findall(r'"([^"]*)"', arguments)]
            if verb in ("open", "openat", "creat"):
                names[result] = paths[0] if paths else None
                if names[result] and "O_CREAT" in arguments:
                    self.operations.append(("create", names[result]))
            elif verb == "close":
                names.pop(int(arguments), None)
            elif verb.startswith(("mkdir", "rename")):
                if paths and all(paths):
                    self.operations.append((verb.rstrip("at2"), *paths))
            else:
                name = names.get(int(arguments.split(",")[0]))
                record = re.search(r'\\"step\\":(\d+)', arguments)
                if name and record and name.endswith(".jsonl"):
                    self.steps[len(self.operations)] = int(record.group(1))
                if name:
                    self.operations.append((verb, name))


class OrderTest(AttackTest):
    def trace(self, out, *length):
        log = self.directory / "strace"
        arguments = [MPIRUN, "-n", 1, "strace", "-f", "-s", 4096, "-o", log, "-e", f"trace={CALLS}",
                     PROGRAM, "train", "--out", out, "--threads", 1, *self.settings,
                     *(length or ["--max-steps", 3])]
        result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True,
                                timeout=300,
                                env={**os.environ, **TRACED, "LOCKSTEP_TEST_GRACE": "0"})
        self.expect(result, 0 if length else 75)
        return Trace(log.read_text(), out)

    def test_everything_is_durable_before_it_is_named(self):
        out = self.directory / "out"
        trace = self.trace(out)
        renames = [o for o in trace.operations if o[0] == "rename"]
        self.assertIn(("rename", "config.ini.tmp", "config.ini"), renames)
        for step in (1, 2, 3):
            with self.subTest(step=step):
                self.check_save(trace, step, out)

    def test_the_record_of_the_test_is_durable(self):
        """No checkpoint follows it."""
        trace = self.trace(self.directory / "out", "--max-steps", 99)
        operations = [o for o in trace.operations if o[1] == "metrics.jsonl"]
        self.assertEqual([verb for verb, _ in operations[-2:]], ["write", "fsync"])

    def check_save(self, trace, step, out):
        operations, final = trace.operations, f"checkpoints/step-{step:08}"
        (named,) = [i for i, o in enumerate(operations) if o[0] == "rename" and o[2] == final]
        temporary = operations[named][1]
        self.assertTrue(temporary.startswith("checkpoints/.tmp-step-"), temporary)
        (begin,) = [i for i, o in enumerate(operations) if o == ("mkdir", temporary)]
        # What was recorded of the steps before is durable before the checkpoint behind them; of later steps something
        # may have been recorded meanwhile.
        self.assertIn(step, trace.steps.values())
        for name in ("metrics.jsonl", "decisions.jsonl"):
            records = [i for i, of in trace.steps.items() if of <= step and operations[i][1] == name]
            self.assertIn(("fsync", name), operations[max(records, default=0) + 1:begin])

        save = [o for o in operations[begin + 1:named] if o[1].startswith("checkpoints")]
        files = [o[1] for o in save if o[0] == "create"]
        self.assertEqual({Path(name).name for name in files},
                         {p.name for p in (out / final).iterdir()})
        self.assertEqual(Path(files[-1]).name, "MANIFEST.json")
        expected = []
        for name in files:
            expected += [("create", name), ("write", name), ("fsync", name)]
        merged = [o for i, o in enumerate(save) if i == 0 or o != save[i - 1]]  # writes in pieces
        self.assertEqual(merged, [*expected, ("fsync", temporary)])

        # Then the name, and then the hint.
        hint = "checkpoints/LATEST"
        after = [o for o in operations[named + 1:] if o[1].startswith("checkpoints")]
        self.assertEqual(after[:6],
                         [("fsync", "checkpoints"),
                          *((verb, f"{hint}.tmp") for verb in ("create", "write", "fsync")),
                          ("rename", f"{hint}.tmp", hint), ("fsync", "checkpoints")])


if __name__ == "__main__":
    if not shutil.which("strace"):
        skip_all("strace is not installed")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        skip_all("strace may not trace here")
    main()
