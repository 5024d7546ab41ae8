"""The report at the end of a run, by command, and while the run goes on: its numbers are those of the
records and of evaluate."""

import json
import os
import signal
import subprocess
import sys
import unittest

from harness import (PROGRAM, SOURCE, ProgramTest, command, main, run, train, wait_for, write_small_mnist)

sys.path.insert(0, str(SOURCE / "tests" / "report"))
from page import Page  # noqa: E402


def metrics(out):
    """The records that are whole."""
    text = (out / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


def report(*arguments, **options):
    return subprocess.run([str(PROGRAM), "report", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, **options)


class ReportTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.data = write_small_mnist(self.directory / "data")
        self.out = self.directory / "out"
        self.settings = ["--data", self.data, "--model", "mlp", "--batch-size", 100, "--log-every-steps", 10]

    def train(self, out, *arguments, ranks=2):
        return self.expect(train(ranks, out, *self.settings, *arguments), 0)

    def test_numbers_are_those_of_the_records_and_of_evaluate(self):
        done = self.train(self.out, "--epochs", 3)
        self.assertIn(f"report: {self.out}/report.html", done.stderr)
        html = (self.out / "report.html").read_text()
        page = Page(html)
        self.assertEqual(page.faults, [])
        records = metrics(self.out)
        test = next(r for r in records if r["kind"] == "test")
        evaluated = json.loads(self.expect(run(1, "evaluate", "--checkpoint", self.out, "--data", self.data,
                                               "--threads", 1, "--json"), 0).stdout)
        for result in (test, evaluated):
            self.assertEqual(page.values["test.accuracy"], result["accuracy"])
            self.assertEqual(page.values["test.loss"], result["loss"])
            errors = result["samples"] - sum(row[i] for i, row in enumerate(result["confusion"]))
            self.assertEqual(page.values["test.errors"], errors)
            for label, row in enumerate(result["confusion"]):
                counts = [c for c in row if c]  # each with its share of the row
                shown = page.cells["confusion"][1 + label]
                self.assertEqual(shown[0::2], counts)
                self.assertEqual(shown[1::2], [c / sum(row) for c in counts])
        validations = [r for r in records if r["kind"] == "validation"]
        best = max(validations, key=lambda r: r["accuracy"])
        self.assertEqual(page.values["best.accuracy"], best["accuracy"])
        self.assertEqual(page.values["best.loss"], best["loss"])
        epochs = [r for r in records if r["kind"] == "train"]
        for row, epoch, validation in zip(page.cells["epochs"][1:], epochs, validations):
            seconds = sum(v for k, v in epoch["seconds"].items() if k != "by_rank")
            self.assertEqual(row[:-1], [epoch["epoch"], epoch["loss"], epoch["accuracy"], validation["loss"],
                                        validation["accuracy"], epoch["learning_rate"],
                                        epoch["samples_per_second"]])
            self.assertAlmostEqual(row[-1], seconds)
        self.assertEqual(len(page.cells["epochs"]), 4)
        by_hand = (test["confusion"][3][3] / sum(test["confusion"][3]))
        self.assertIn(by_hand, page.cells["by-class"][4])
        for decision in map(json.loads, (self.out / "decisions.jsonl").read_text().splitlines()):
            self.assertIn(f"epoch {decision['epoch']}: {decision['reason']}", page.text)
        self.assertLess(len(html), 2_000_000)
        self.assertEqual(html.count("data:image/png"), min(24, page.values["test.errors"]))

    def test_every_rank_has_its_times(self):
        self.train(self.out, "--epochs", 2, ranks=4)
        for record in metrics(self.out):
            seconds = record["seconds"]
            if record["kind"] != "train":
                self.assertNotIn("by_rank", seconds)
                continue
            ranks = seconds.pop("by_rank")
            self.assertEqual(list(ranks), list(seconds))
            for phase, times in ranks.items():
                self.assertEqual(len(times), 4)
                self.assertAlmostEqual(times[0], seconds[phase])  # the root's
                self.assertTrue(all(time >= 0 for time in times))
        page = Page((self.out / "report.html").read_text())
        for row in page.cells["time"][1:]:
            self.assertAlmostEqual(sum(row[:-1]), 1)

    def test_the_command_makes_the_same_page(self):
        self.train(self.out, "--epochs", 2)
        at_the_end = (self.out / "report.html").read_text()
        result = self.expect(report(self.out, "--out", self.directory / "again.html"), 0)
        self.assertEqual(result.stderr, f"report: {self.directory}/again.html\n")
        self.assertEqual((self.directory / "again.html").read_text(), at_the_end)

    def test_a_comparison(self):
        others = [self.directory / name for name in ("a", "b")]
        for out, rate in zip(others, (0.001, 0.002)):
            self.train(out, "--epochs", 1, "--learning-rate", rate)
        self.expect(report(*others, cwd=self.directory), 0)
        page = Page((self.directory / "report.html").read_text())
        self.assertEqual(page.faults, [])
        tests = [next(r for r in metrics(out) if r["kind"] == "test") for out in others]
        self.assertEqual(page.cells["results"][1], [t["accuracy"] for t in tests])
        self.assertIn("learning-rate0.0010.002", page.text)
        self.assertNotIn("batch-size", page.text)

    def test_without_gnuplot_the_run_is_done_all_the_same(self):
        # mpirun needs the system's PATH: a program in front of it that is no gnuplot.
        broken = self.directory / "gnuplot"
        broken.write_text("#!/bin/sh\necho 'no terminal svg' >&2\nexit 1\n")
        broken.chmod(0o755)
        done = self.expect(train(2, self.out, *self.settings, "--epochs", 1, environment={
            "PATH": f"{self.directory}:{os.environ['PATH']}"}), 0)
        self.assertIn("The pictures are missing, the tables are all there: gnuplot: failed: no terminal svg",
                      done.stderr)
        self.assertIn(f"report: {self.out}/report.html", done.stderr)
        result = self.expect(report(self.out, env={**os.environ, "PATH": str(self.out)}), 0)
        self.assertIn("gnuplot is not installed (Debian: gnuplot-nox)", result.stderr)
        page = Page((self.out / "report.html").read_text())
        self.assertIn("gnuplot is not installed", page.text)
        self.assertNotIn("<svg", (self.out / "report.html").read_text())

    def test_a_report_that_cannot_be_written_does_not_fail_the_run(self):
        self.out.mkdir()
        (self.out / "report.html").mkdir()
        result = self.train(self.out, "--epochs", 1)
        self.assertIn("there is no report of this run: ", result.stderr)
        self.assertIn(f"results: {self.out}", result.stderr)

    def test_a_run_that_goes_on_is_watched_to_its_end(self):
        job = subprocess.Popen(command(2, "train", "--out", self.out, "--threads", 1, *self.settings, "--epochs", 400,
                                       "--max-steps", 4000, "--inject-fault", "slow@forward:rank=all,seconds=0.02"),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        page = self.out / "report.html"
        wait_for(lambda: (self.out / "metrics.jsonl").exists() and metrics(self.out), "records")
        watcher = subprocess.Popen([str(PROGRAM), "report", "--watch", str(self.out), "--interval", "1"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(watcher.kill)
        wait_for(page.exists, "a page")
        first = page.read_text()
        self.assertIn('http-equiv="refresh" content="1"', first)
        self.assertIn("running", Page(first).text)
        wait_for(lambda: page.read_text() != first, "another page")
        self.assertEqual(Page(page.read_text()).faults, [])
        job.send_signal(signal.SIGUSR1)
        self.assertEqual(job.wait(60), 75)
        self.assertEqual(watcher.wait(60), 0)
        last = page.read_text()
        self.assertNotIn("http-equiv=\"refresh\"", last)
        self.assertIn("stopped after", Page(last).text)
        self.assertNotIn("warning", watcher.communicate()[1])

    def test_control_c_ends_the_watching(self):
        job = subprocess.Popen(command(1, "train", "--out", self.out, "--threads", 1, *self.settings, "--epochs", 400,
                                       "--inject-fault", "slow@forward:rank=all,seconds=0.05"),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        wait_for(lambda: (self.out / "metrics.jsonl").exists() and metrics(self.out), "records")
        watcher = subprocess.Popen([str(PROGRAM), "report", "--watch", str(self.out), "--interval", "3600"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(watcher.kill)
        wait_for((self.out / "report.html").exists, "a page")
        watcher.send_signal(signal.SIGINT)
        self.assertEqual(watcher.wait(60), 0)
        self.assertNotIn("http-equiv=\"refresh\"", (self.out / "report.html").read_text())
        self.assertFalse((self.out / "report.html.tmp").exists())

    def test_what_is_no_run_is_refused(self):
        self.assertIn("DIR: is missing", self.expect(report(), 64).stderr)
        self.assertIn("no such directory", self.expect(report(self.directory / "nothing"), 66).stderr)
        self.assertIn("holds no run", self.expect(report(self.directory), 66).stderr)
        self.train(self.out, "--epochs", 1)
        self.expect(report(self.out, "--interval", 5), 64)
        self.expect(report(self.out, "--out", self.directory / "no" / "page.html"), 73)
        with open(self.out / "metrics.jsonl", "a") as file:
            file.write("{}\n")
        result = self.expect(report(self.out), 65)
        self.assertIn("metrics.jsonl: line ", result.stderr)


if __name__ == "__main__":
    main()
