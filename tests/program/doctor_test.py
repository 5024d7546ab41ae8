"""lockstep doctor: healthy jobs, a fault put in on purpose for each check, and dead jobs."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
import unittest
from pathlib import Path

from harness import MPIRUN, PROGRAM, SCRATCH, ProgramTest, main, run, train, write_small_mnist

# A host of its own for one rank, with a clock of its own.
OTHER_HOST = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <time.h>
int gethostname(char *name, size_t size) {
  strncpy(name, "elsewhere", size);
  return 0;
}
int clock_gettime(clockid_t clock, struct timespec *time) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, time);
  if (clock == CLOCK_REALTIME) time->tv_sec += 100;
  return result;
}
"""


class DoctorTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = write_small_mnist(Path(SCRATCH) / "data", training=600, test=100)

    def doctor(self, ranks, *arguments, code=0, **options):
        result = run(ranks, "doctor", "--data", self.data, "--threads", 1, *arguments, **options)
        return self.expect(result, code)

    def mixed(self, *parts, code=76):
        """One job of parts (ranks, program, extra arguments, environment words)."""
        line = [str(MPIRUN)]
        for ranks, program, arguments, environment in parts:
            line += ([":"] if len(line) > 1 else []) + ["-n", str(ranks)]
            line += ["env", *environment] if environment else []
            line += [str(program), "doctor", "--threads", "1", *map(str, arguments)]
        result = subprocess.run(line, capture_output=True, text=True, timeout=120,
                                cwd=self.directory,
                                env={**os.environ, "LOCKSTEP_TEST_GRACE": "0"})
        return self.expect(result, code)

    def verdict(self, result):
        return result.stdout.splitlines()[-1]

    def test_healthy_jobs_fit_one_screen(self):
        for ranks in (1, 2, 4):
            with self.subTest(ranks=ranks):
                result = self.doctor(ranks)
                self.assertTrue(self.verdict(result).startswith("verdict: healthy"), result.stdout)
                lines = result.stdout.splitlines()
                self.assertEqual("sums in shared memory" in lines[0], ranks > 1, lines[0])
                self.assertLessEqual(len(lines), 45, result.stdout)
                self.assertLessEqual(max(map(len, lines)), 100, result.stdout)
                self.assertEqual(result.stderr, "")
                oversubscribed = ranks > len(os.sched_getaffinity(0))
                self.assertEqual(f"{ranks} compute threads of" in result.stdout, oversubscribed)

    def test_json_is_one_object(self):
        report = json.loads(self.doctor(2, "--json", "--out", self.directory / "out").stdout)
        self.assertEqual([rank["rank"] for rank in report["ranks"]], [0, 1])
        self.assertEqual((report["exit_code"], report["failures"]), (0, []))
        self.assertEqual({sum(row["wrong"]) for row in report["all_reduce"]}, {0})
        self.assertEqual(report["links"][0]["ranks"], [0, 1])
        self.assertEqual(report["out"]["problem"], "")
        self.assertFalse((self.directory / "out").exists())

    def test_without_mpirun_it_says_how_to_start_it(self):
        result = subprocess.run([str(PROGRAM), "doctor", "--threads", "1", "--data", self.data],
                                capture_output=True, text=True, timeout=60)
        self.expect(result, 0)
        self.assertIn("mpirun -n RANKS", result.stdout)

    def test_another_binary(self):
        other = self.directory / "lockstep"
        shutil.copy(PROGRAM, other)
        with open(other, "ab") as file:
            file.write(b"\0")
        arguments = ["--data", self.data]
        verdict = self.verdict(self.mixed((1, other, arguments, ()), (3, PROGRAM, arguments, ())))
        self.assertRegex(verdict, r"exit code 76\): other binaries .*: rank 0 \(")

    def test_other_settings(self):
        same, other = ["--data", self.data], ["--data", self.data, "--seed", 7]
        verdict = self.verdict(self.mixed((2, PROGRAM, same, ()), (1, PROGRAM, other, ())))
        self.assertRegex(verdict, r"76\): other settings on rank 2 .*seed = 7 instead of 1")

    def test_other_data(self):
        other = self.directory / "other"
        for place in (self.directory / "data", other / "data"):
            shutil.copytree(self.data, place)
        labels = other / "data" / "train-labels-idx1-ubyte"
        content = bytearray(labels.read_bytes())
        content[-1] = (content[-1] + 1) % 10
        labels.write_bytes(content)
        arguments = ["--data", "data"]
        verdict = self.verdict(self.mixed((2, PROGRAM, arguments, ()),
                                          (1, PROGRAM, arguments, ["-C", str(other)])))
        self.assertRegex(verdict, r"76\): other training data .*: rank 2 \(")

    def test_a_slow_rank_and_wrong_sums(self):
        faults = "slow@forward:rank=1,seconds=0.3; flip@all-reduce:rank=2,pass=9"
        result = self.doctor(4, "--inject-fault", faults, code=76)
        self.assertRegex(self.verdict(result), r"76\): all_reduce gives wrong sums on rank 2 \(")
        self.assertRegex(result.stdout, r"(?m)^warning: rank 1 \(.*\) is slow")

    def test_directories_that_cannot_be_written(self):
        occupied = self.directory / "occupied"
        occupied.write_text("x")
        for setting, what in (("--out", "--out on rank 0"), ("--ledger-dir", "ledgers on rank 0")):
            verdict = self.verdict(self.doctor(1, setting, occupied / "run", code=73))
            self.assertIn(f"73): {what}", verdict)
            self.assertIn("occupied: is not a directory", verdict)

    def test_an_output_directory_with_a_run(self):
        out = self.directory / "out"
        out.mkdir()
        (out / "metrics.jsonl").touch()
        verdict = self.verdict(self.doctor(2, "--out", out, code=73))
        self.assertRegex(verdict, r"73\): --out on rank 0 \(.*out holds a run already \(metrics.jsonl\)")
        self.doctor(2, "--out", out, "--resume", "auto")
        self.assertEqual([path.name for path in out.iterdir()], ["metrics.jsonl"])

    def test_an_output_directory_in_use(self):
        out = self.directory / "out"
        out.mkdir()
        with open(out / ".lock", "w") as lock:
            lock.write("process 7 on elsewhere\n")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            verdict = self.verdict(self.doctor(2, "--out", out, "--resume", "auto", code=73))
            self.assertRegex(verdict, r"73\): --out on rank 0 \(.*out: is in use by process 7 on elsewhere")
        self.doctor(2, "--out", out, "--resume", "auto")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"),
                         "mounting needs root and unshare")
    def test_read_only_and_full_file_systems(self):
        place = self.directory / "place"
        place.mkdir()
        for mount, code, text in (
                ("mount -t tmpfs -o size=64k none {0}", 74, "No space left on device"),
                ("mount --bind {0} {0} && mount -o remount,ro,bind {0}", 73, "Read-only file system")):
            words = f"set -e; {mount.format(place)}; exec \"$@\""
            result = subprocess.run(
                ["unshare", "--mount", "sh", "-c", words, "sh", str(MPIRUN), "-n", "1",
                 str(PROGRAM), "doctor", "--threads", "1", "--data", self.data, "--out",
                 place / "run"], capture_output=True, text=True, timeout=60,
                env={**os.environ, "LOCKSTEP_TEST_GRACE": "0"})
            if "mount:" in result.stderr:
                self.skipTest(result.stderr.strip())
            self.expect(result, code)
            self.assertIn(text, self.verdict(result))
            self.assertIn(str(place), self.verdict(result))

    def test_a_rank_that_does_not_answer(self):
        begin = time.monotonic()
        result = self.doctor(2, "--collective-timeout", 3, "--inject-fault",
                             "stop@forward:rank=1", code=69)
        self.assertLess(time.monotonic() - begin, 30)
        self.assertRegex(self.verdict(result), r"exit code 69\): .*rank 1 \(")

    @unittest.skipUnless(shutil.which("cc"), "no C compiler")
    def test_another_host_with_another_clock(self):
        source, library = self.directory / "host.c", self.directory / "host.so"
        source.write_text(OTHER_HOST)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        arguments = ["--data", self.data, "--json"]
        # A sanitizer's library wants to be the first of all.
        environment = [f"LD_PRELOAD={library}", "ASAN_OPTIONS=verify_asan_link_order=0"]
        result = self.mixed((2, PROGRAM, arguments, ()), (1, PROGRAM, arguments, environment), code=0)
        report = json.loads(result.stdout)
        self.assertEqual(report["ranks"][2]["host"], "elsewhere")
        self.assertAlmostEqual(report["ranks"][2]["clock"]["offset_seconds"], 100, delta=1)
        self.assertLess(report["ranks"][2]["clock"]["uncertainty_seconds"], 1)
        self.assertTrue(any("clock of elsewhere is 1 min 40 s ahead" in warning
                            for warning in report["warnings"]), report["warnings"])

    def test_wrong_settings_are_refused_once(self):
        result = self.doctor(2, "--epoch", 3, code=64)
        self.assertEqual(result.stderr.count("did you mean --epochs?"), 1)


class LedgerTest(ProgramTest):
    def explain(self, directory, *arguments, code=0):
        result = subprocess.run([str(PROGRAM), "doctor", "--ledger", str(directory), *arguments],
                                capture_output=True, text=True, timeout=60)
        return self.expect(result, code)

    def dead_job(self, ranks, ledgers, fault):
        data = write_small_mnist(self.directory / "data", training=600, test=100)
        # With no grace mpirun would kill the survivors before they note who ends them.
        result = train(ranks, self.directory / f"out-{ledgers.name}", "--data", data, "--model",
                       "mlp", "--max-steps", 5, "--ledger-dir", ledgers, "--collective-timeout", 20,
                       "--inject-fault", fault, environment={"LOCKSTEP_TEST_GRACE": "1"})
        self.assertNotIn(result.returncode, (0, 75), result.stderr)

    def test_dead_jobs_are_explained(self):
        host = os.uname().nodename
        jobs = self.directory / "jobs"
        self.dead_job(2, jobs / "failed", "throw@forward:rank=1,step=3")
        first = self.explain(jobs / "failed").stdout.splitlines()[0]
        self.assertRegex(first, r"^rank 1 \(.*\) ended with exit code 70 .*injected fault")

        self.dead_job(4, jobs / "killed", "kill@all-reduce:rank=1,step=3")
        text = self.explain(jobs).stdout
        first = text.splitlines()[0]
        self.assertRegex(first, rf"^rank 1 \({re.escape(host)}\) died .* in all_reduce .* bucket "
                                r"\d+ of step 3; ranks 0, 2, 3 waited for it")
        self.assertRegex(text, r"(?s)older jobs:\n.*failed: rank 1 .* ended with exit code 70")
        report = json.loads(self.explain(jobs / "killed", "--json").stdout)
        self.assertEqual(report["conclusion"], first)
        self.assertEqual([rank["rank"] for rank in report["ranks"]], [0, 1, 2, 3])
        self.assertEqual({rank["phase"] for rank in report["ranks"]}, {"training"})
        self.assertEqual({rank["step"] for rank in report["ranks"]}, {3})

        # As collected from two hosts, with a damaged file beside.
        collected = self.directory / "collected"
        for rank in range(4):
            place = collected / f"node{rank // 2}" / "job"
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(jobs / "killed" / f"{host}-rank-{rank}", place)
        (collected / "x-rank-9").write_text("not a ledger")
        text = self.explain(collected).stdout
        self.assertEqual(text.splitlines()[0], first)
        self.assertIn("x-rank-9", text)

    def test_the_ledgers_of_a_dead_job_outlive_an_examination(self):
        ledgers = self.directory / "ledgers"
        self.dead_job(2, ledgers, "kill@forward:rank=1,step=3")
        before = self.explain(ledgers).stdout.splitlines()[0]
        self.assertIn("rank 1", before)
        self.expect(run(2, "doctor", "--data", self.directory / "data", "--threads", 1, "--ledger-dir", ledgers), 0)
        self.assertEqual(self.explain(ledgers).stdout.splitlines()[0], before)

    def test_what_is_no_ledger_directory(self):
        empty = self.directory / "empty"
        empty.mkdir()
        self.assertIn(str(empty), self.explain(empty, code=66).stderr)
        (empty / "notes.txt").write_text("x")
        self.explain(empty, code=66)
        self.explain(self.directory / "missing", code=66)
        self.explain(empty / "notes.txt", code=66)
        damaged = self.directory / "damaged"
        damaged.mkdir()
        (damaged / "host-rank-0").write_bytes(b"x" * 100)
        (damaged / "host-rank-1").symlink_to("/etc/passwd")
        stderr = self.explain(damaged, code=65).stderr
        self.assertIn("host-rank-0", stderr)
        self.assertIn("host-rank-1", stderr)


if __name__ == "__main__":
    main()
