#!/usr/bin/env python3
"""A stop signal at any moment: a checkpoint, code 75, and a resume to the weights of a quiet run.

--long: at more moments.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import launched
import failure_table
from harness import PROGRAM, checkpoints, command, main, processes_with, wait_for

LONG = "--long" in sys.argv
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = r"interrupted \(SIGUSR2\) after .*"


def stop_reason(out):
    state = out / "checkpoints" / checkpoints(out)[-1] / "state.json"
    return json.loads(state.read_text())["stop_reason"]


class SignalsTest(launched.LaunchTest):
    def stop_at_each_moment(self, send, numbers):
        """Stops a run that is gone on with each time, the last time by TERM as soon as a rank has a
        ledger; returns the seconds that took and the log."""
        out, ledgers = self.directory / "out", self.directory / "ledgers"
        moments = [i * 0.1 for i in range(25)] if LONG else [0.02, 0.4, 1.1]
        for index, moment in enumerate([*moments, None]):
            number = numbers[index % len(numbers)] if moment is not None else signal.SIGTERM
            for path in ledgers.glob("*-rank-*"):
                path.unlink()
            job = self.launch(2, out, "--resume", "auto", "--restarts", 9, "--ledger-dir", ledgers)
            # Before this a shell has no traps yet.
            wait_for(lambda: self.masks(job, number)[1], "traps")
            if moment is None:
                wait_for(lambda: list(ledgers.glob("*-rank-*")), "a ledger")
            else:
                time.sleep(moment)
            began = time.monotonic()
            send(job, number)
            if number == signal.SIGUSR1:
                send(job, number)
            self.finish(job, 75)
            with self.subTest(moment=moment, signal=number.name):
                log = job.log.read_text()
                self.assertNotIn("restart", log)
                if moment is not None and "nothing was written" in log:
                    continue
                self.assertEqual(stop_reason(out), "preempted" if number == signal.SIGUSR1
                                 else "interrupted", log)
        seconds = time.monotonic() - began
        self.expect_weights_of_the_quiet_run(2, out)
        return seconds, log

    def test_at_any_moment_of_a_start(self):
        seconds, log = self.stop_at_each_moment(lambda job, number: job.send_signal(number),
                                                (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT))
        failure_table.note(self, "TERM to `launch/train` while its ranks start", 75,
                           seconds=seconds, said=STOPPED, text=log)

    def test_from_a_terminal(self):
        """Which signals the whole group of processes."""
        self.stop_at_each_moment(lambda job, number: os.killpg(job.pid, number), INTERRUPTS)

    @staticmethod
    def masks(job, number):
        """Whether the process blocks a signal, and whether it catches it."""
        with open(f"/proc/{job.pid}/status", encoding="ascii") as status:
            fields = dict(line.split(":", 1) for line in status)
        return [bool(int(fields.get(name, "0"), 16) >> (number - 1) & 1) for name in ("SigBlk", "SigCgt")]

    def start_blocked(self, out):
        """The program between its first instructions and main, or later if that was missed."""
        job = subprocess.Popen([PROGRAM, "train", "--out", out, *map(str, self.settings)],
                               env=launched.environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
        self.addCleanup(job.kill)
        wait_for(lambda: any(self.masks(job, signal.SIGUSR1)), "a mask or a handler")
        return job, self.masks(job, signal.SIGUSR1) == [True, False]

    def test_before_main(self):
        """While LibTorch's constructors run, a signal waits for the handler."""
        for attempt in range(5):  # that time may be missed
            out = self.directory / str(attempt)
            job, blocked = self.start_blocked(out)
            job.send_signal(signal.SIGUSR1)
            _, errors = job.communicate(timeout=120)
            self.assertEqual(job.returncode, 75, errors)
            self.assertEqual(stop_reason(out), "preempted")
            if blocked:
                return
        self.fail("SIGUSR1 was never seen blocked")

    @staticmethod
    def in_phase(phase, ledgers):
        """The root's step, as its ledger has it, while the running job is in this phase; 0: it is not."""
        done = subprocess.run([PROGRAM, "doctor", "--ledger", ledgers, "--json"], capture_output=True,
                              text=True, timeout=60)
        root = json.loads(done.stdout)["ranks"][0] if done.returncode == 0 else {"phase": None}
        return root["step"] if root["phase"] == phase else 0

    def send(self, job, number, answer):
        """Sends a signal to launch/train, as a terminal does, and waits until it says so."""
        os.killpg(job.pid, number)
        wait_for(lambda: answer in job.log.read_text(), answer, 20)

    def stop_in(self, phase, fault, *settings):
        """INT and TERM to launch/train in this phase, which the fault makes long; also twice, which ends the job at
        once. Each job goes on where the one before has ended."""
        out = self.directory / "out"
        within = 0
        cases = [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 2), (signal.SIGINT, 2)]
        for index, (number, times) in enumerate(cases if LONG else cases[::3]):
            ledgers = self.directory / f"ledgers-{index}"
            job = self.launch(2, out, *settings, "--resume", "auto", "--restarts", 9, "--ledger-dir", ledgers,
                              "--inject-fault", fault)
            before = wait_for(lambda: self.in_phase(phase, ledgers), phase)
            began = time.monotonic()
            self.send(job, number, "stopping with a checkpoint")
            within += before == self.in_phase(phase, ledgers)
            if times == 2:
                began = time.monotonic()
                self.send(job, number, "ending at once")
            self.finish(job, 75 if times == 1 else 69)
            self.assertEqual(processes_with(str(out), "cmdline"), [])
            log = job.log.read_text()
            self.assertNotIn("restart", log)
            if times == 1:
                self.assertEqual(stop_reason(out), "interrupted", log)
            failure_table.note(self, f"INT or TERM to `launch/train` in {phase}" + ", twice" * (times - 1), job.returncode,
                               seconds=time.monotonic() - began, text=log,
                               said=STOPPED if times == 1 else "launch/train: ending at once")
        self.assertGreater(within, 0, f"no signal fell into {phase}")
        self.expect_weights_of_the_quiet_run(2, out, *settings)

    def test_through_launch_train_in_validation(self):
        # Three of six chunks a rank.
        self.stop_in("validation", "slow@validation:rank=all,seconds=3", "--evaluation-batch", 50)

    def test_through_launch_train_in_checkpoints(self):
        self.stop_in("checkpoint", "slow@checkpoint:rank=0,seconds=0.2", "--checkpoint-every-steps", 1)

    def stop_bare(self, phase, *settings):
        """Stops mpirun itself, each time twice in a row, at moments spread over a second."""
        out = self.directory / "out"
        for index in range(20 if LONG else 2):
            before = checkpoints(out)
            job = subprocess.Popen(
                command(2, "train", "--out", out, *self.settings, *settings, "--resume", "auto"),
                env=launched.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, start_new_session=True)
            wait_for(lambda: checkpoints(out) != before, "a checkpoint")
            time.sleep((0.1 + 0.13 * index) % 1)
            number = (signal.SIGUSR1, signal.SIGUSR2)[index % 2]
            began = time.monotonic()
            job.send_signal(number)
            time.sleep(0.01)
            job.send_signal(number)
            output, _ = job.communicate(timeout=120)
            seconds = time.monotonic() - began
            self.assertEqual(job.returncode, 75, output)
            self.assertEqual(stop_reason(out), ("preempted", "interrupted")[index % 2])
            self.assertIn(f"{stop_reason(out)} ({number.name})", output)
        failure_table.note(self, f"USR1 or USR2 to `mpirun` in {phase}, twice", job.returncode, seconds=seconds,
                           said=STOPPED, text=output)
        self.expect_weights_of_the_quiet_run(2, out, *settings)

    def test_during_validation(self):
        self.stop_bare("validation", "--validation-fraction", "0.9", "--evaluation-batch", 5)

    def test_during_checkpoints(self):
        self.stop_bare("checkpoint", "--checkpoint-every-steps", 1)

    def test_whoever_reads_the_messages_is_gone(self):
        """launch/train | head: on Ctrl-C the reader dies first."""
        out = self.directory / "out"
        job = subprocess.Popen(
            [str(self.train), "--config", str(self.directory / "root" / "empty.ini"), "--ranks", "2",
             "--out", str(out), *map(str, self.settings)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=launched.environment(),
            start_new_session=True)
        self.addCleanup(self.end, job)
        wait_for(lambda: checkpoints(out), "a checkpoint")
        job.stdout.close()
        job.send_signal(signal.SIGINT)
        self.assertEqual(job.wait(timeout=60), 75)
        self.assertEqual(stop_reason(out), "interrupted")

    def test_an_mpirun_that_hangs_is_not_waited_for(self):
        """Its ranks end by their deadline; launch/train kills it and runs the job again."""
        out = self.directory / "out"
        if not LONG:  # launch/train counts its looks at mpirun: between them it sleeps less here
            sleep = self.directory / "bin" / "sleep"
            sleep.parent.mkdir()
            sleep.write_text(f"#!/bin/sh\nexec {shutil.which('sleep')} 0.05\n")
            sleep.chmod(0o755)
            self.variables = {"PATH": f"{sleep.parent}:{os.environ['PATH']}"}
        self.settings = self.settings[:-2]
        job = self.launch(2, out, "--epochs", 2, "--restarts", 3, "--restart-delay", 0,
                          "--collective-timeout", 5)
        wait_for(lambda: checkpoints(out), "a checkpoint")
        mpirun, = launched.mpirun_of(job)
        os.kill(mpirun, signal.SIGSTOP)
        began = time.monotonic()
        wait_for(lambda: "restart 1 of 3" in job.log.read_text(), "a restart")
        seconds = time.monotonic() - began
        self.finish(job, 0)
        self.assertIn("mpirun hangs", job.log.read_text())
        if LONG:
            failure_table.note(self, "mpirun hangs (`--collective-timeout 5`; until the job is run again)", job.returncode,
                               seconds=seconds, said="mpirun hangs: .*", text=job.log.read_text(), options=("--long",))


if __name__ == "__main__":
    if LONG:
        sys.argv.remove("--long")
    main()
