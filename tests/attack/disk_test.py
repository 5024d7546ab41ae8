#!/usr/bin/env python3
"""Disks that are full, read-only, limited or gone in mid-run: the documented code and the path, all
older checkpoints untouched, and a later resume that gives the exact weights."""

import os
import resource
import shutil
import time

from attack import DEADLINE, AttackTest, Job, checkpoints, mount, unmount, wait_for
import failure_table
from harness import main, train

RANKS = 2
KIB = 1024


class DiskTest(AttackTest):
    def expect_failure(self, errors, *texts):
        self.assertEqual(errors.count("error: "), 1, errors)
        for text in texts:
            self.assertIn(str(text), errors)

    def note(self, what, code, seconds, errors, said):
        failure_table.note(self, what, code, seconds=seconds, said=r"(error: rank 0 \(host\)).* " + said,
                           text=errors)

    def test_full_while_a_checkpoint_is_written(self):
        disk = self.disk("5m")  # a checkpoint of this job takes about 1 MiB
        out = disk / "out"
        with Job(RANKS, out, *self.settings, "--keep-checkpoints", 9) as job:
            self.assertEqual(job.end_by_rank(), [74, 74, 74])
            self.expect_failure(job.stderr(), out / "checkpoints", "No space left")
            self.note("disk full while a checkpoint is written (from the start)", 74, job.seconds, job.stderr(),
                      r"(disk/out/checkpoints/\.tmp-step-N/).* (cannot be written: No space left on device)")
        before = self.expect_sound(out)
        self.assertGreaterEqual(len(before), 2)
        # Still full: the resume fails likewise and takes nothing away.
        again = self.expect(train(RANKS, out, *self.settings, "--keep-checkpoints", 9,
                                  "--resume", "auto"), 74)
        self.expect_failure(again.stderr, out)
        self.assertEqual(self.expect_sound(out), before)
        mount("-o", "remount,size=64m", disk)
        self.finish(RANKS, out)

    def test_full_while_records_are_written(self):
        disk = self.disk("64m")
        out = disk / "out"
        with Job(RANKS, out, *self.endless(checkpoints=False)) as job:
            job.wait_for(lambda: checkpoints(out), "a checkpoint")
            # Room for some records, not for another checkpoint.
            ballast = disk / "ballast"
            with open(ballast, "wb", buffering=0) as file:
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                file.write(bytes(max(free - 16 * KIB, 0)))
            job.count_from_now()
            self.assertEqual(job.end_by_rank(), [74, 74, 74])
            self.expect_failure(job.stderr(), out, "No space left")
            self.note("disk full while records are written", 74, job.seconds, job.stderr(),
                      r"(disk/out/)\S+ (cannot be written: No space left on device)")
        self.assertTrue(self.expect_sound(out))
        ballast.unlink()
        self.go_on(RANKS, out)

    def test_full_while_a_checkpoint_is_taken_along(self):
        """Nothing is left, so that the same command works once there is room."""
        first = self.directory / "first"
        self.expect(train(RANKS, first, *self.settings, "--max-steps", 12), 75)
        disk = self.disk("1m")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(600 * KIB))
        out = disk / "out"
        again = [*self.settings, "--resume", first / "checkpoints" / "step-00000012"]
        for _ in range(2):
            result = self.expect(train(RANKS, out, *again), 74)
            self.expect_failure(result.stderr, out, "No space left")
            self.assertFalse((out / "checkpoints").exists())
            self.assertFalse((out / "metrics.jsonl").exists())
        mount("-o", "remount,size=64m", disk)
        self.expect(train(RANKS, out, *again), 0)

    def test_full_from_the_start(self):
        disk = self.disk("64k")
        (disk / "ballast").write_bytes(bytes(60 * KIB))
        out = disk / "out"
        begin = time.monotonic()
        result = self.expect(train(RANKS, out, *self.settings), 74)
        failure_table.note(self, "disk full from the start", 74, seconds=time.monotonic() - begin,
                           said=r"error: disk/out/.*", text=result.stderr)
        self.expect_failure(result.stderr, out, "No space left")

    def test_read_only_from_the_start(self):
        disk = self.disk("64m")
        mount("-o", "remount,ro", disk)
        out = disk / "out"
        begin = time.monotonic()
        result = self.expect(train(RANKS, out, *self.settings), 73)
        failure_table.note(self, "disk read-only from the start", 73, seconds=time.monotonic() - begin,
                           said=r"error: disk/out.*", text=result.stderr)
        self.expect_failure(result.stderr, out, "Read-only file system")
        mount("-o", "remount,rw", disk)
        self.finish(RANKS, out)

    def test_read_only_in_mid_run(self):
        out = self.directory / "out"
        store = out / "checkpoints"
        with Job(RANKS, out, *self.endless()) as job:
            job.wait_for(lambda: checkpoints(out), "a checkpoint")
            refusal = mount("--bind", store, store)
            if refusal:
                self.skipTest(f"nothing can be mounted here: {refusal}")
            self.addCleanup(unmount, store)
            # Refused as long as a file there is being written.
            wait_for(lambda: not mount("-o", "remount,ro,bind", store), "a read-only directory", DEADLINE)
            job.count_from_now()
            self.assertEqual(job.end_by_rank(), [73, 73, 73])
            self.expect_failure(job.stderr(), store, "Read-only file system")
            self.note("checkpoints read-only in mid-run", 73, job.seconds, job.stderr(),
                      r"(out/checkpoints/).* (Read-only file system)")
        mount("-o", "remount,rw,bind", store)
        self.go_on(RANKS, out)

    def limit_file_size(self, settings, limit):
        """A job, at its end, whose files may not grow over limit(out) once there is a checkpoint; its messages."""
        out = self.directory / "out"
        with Job(RANKS, out, *settings) as job:
            job.wait_for(lambda: checkpoints(out), "a checkpoint")
            # Set in mid-run: MPI's own files are larger, and are there by now.
            root = job.rank_processes()[0]
            hard = resource.prlimit(root, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(root, resource.RLIMIT_FSIZE, (limit(out), hard))
            job.count_from_now()
            self.assertEqual(job.end_by_rank(), [74, 74, 74])
            errors = job.stderr()
        self.assertTrue(self.expect_sound(out))
        self.go_on(RANKS, out)
        return job, errors

    def test_a_limit_on_the_size_of_a_checkpoints_files(self):
        job, errors = self.limit_file_size(self.endless(), lambda out: 100 * KIB)
        self.expect_failure(errors, self.directory / "out/checkpoints", ".safetensors: cannot be",
                            "File too large")
        self.note("file size limit (RLIMIT_FSIZE) below a checkpoint's files", 74, job.seconds, errors,
                  r"(out/checkpoints/\.tmp-step-N/).* (cannot be written: File too large)")

    def test_a_limit_on_the_size_of_records(self):
        job, errors = self.limit_file_size(self.endless(checkpoints=False),
                                           lambda out: (out / "metrics.jsonl").stat().st_size + 2 * KIB)
        self.expect_failure(errors, self.directory / "out/metrics.jsonl", "File too large")
        self.note("file size limit (RLIMIT_FSIZE) below the records", 74, job.seconds, errors,
                  r"(out/metrics\.jsonl: cannot be written: File too large)")

    def test_removed_in_mid_run(self):
        out = self.directory / "out"
        with Job(RANKS, out, *self.endless()) as job:
            job.wait_for(lambda: checkpoints(out), "a checkpoint")
            out.rename(self.directory / "moved away")
            shutil.rmtree(self.directory / "moved away")
            job.count_from_now()
            self.assertEqual(job.end_by_rank(), [73, 73, 73])
            self.expect_failure(job.stderr(), out)
            self.note("run directory removed in mid-run", 73, job.seconds, job.stderr(),
                      r"(out: was removed or replaced while this run was writing to it)")
        self.assertFalse(out.exists())
        self.finish(RANKS, out)

    def test_records_removed_or_replaced_in_mid_run(self):
        """What was trained is saved before the run ends."""
        moved = self.directory / "moved"
        for number, (name, act) in enumerate([
                ("metrics.jsonl", lambda path: path.unlink()),
                ("decisions.jsonl", lambda path: path.rename(moved)),
                ("metrics.jsonl", lambda path: shutil.copy(path, moved).replace(path))]):
            out = self.directory / f"out{number}"
            with self.subTest(number), Job(RANKS, out, *self.endless()) as job:
                job.wait_for(lambda: checkpoints(out), "a checkpoint")
                seen = checkpoints(out)
                act(out / name)
                job.count_from_now()
                self.assertEqual(job.end_by_rank(), [73, 73, 73])
                self.expect_failure(job.stderr(), out / name, "--resume auto goes on")
                if number == 0:
                    self.note("`metrics.jsonl` removed in mid-run", 73, job.seconds, job.stderr(),
                              r"(out0/metrics\.jsonl: was removed or replaced while this run was writing to it)")
                self.assertGreaterEqual(self.expect_sound(out)[-1], seen[-1])
                self.go_on(RANKS, out, same_records=False)

    def test_replaced_in_mid_run(self):
        """The lock went with the old directory: whoever lost it writes nothing into the new one."""
        out = self.directory / "out"
        with Job(1, out, *self.endless()) as job:
            job.wait_for(lambda: checkpoints(out), "a checkpoint")
            out.rename(self.directory / "moved away")
            self.expect(train(1, out, *self.settings, "--max-steps", 3, "--keep-checkpoints", 9), 75)
            self.assertEqual(job.end_by_rank(), [73, 73])
            self.expect_failure(job.stderr(), out)
        self.assertEqual(self.expect_sound(out), [f"step-{step:08}" for step in (1, 2, 3)])


if __name__ == "__main__":
    main()
