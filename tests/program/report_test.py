"""The report at the end of a run, by command, and while the run goes on: its numbers are those of the
records and of evaluate."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import (PROGRAM, SOURCE, ProgramTest, command, main, read_idx, read_safetensors, records, run,
                     train, wait_for, weights, write_small_mnist)

sys.path.insert(0, str(SOURCE / "tests" / "report"))
import expected  # noqa: E402
from page import Page  # noqa: E402


def metrics(out):
    """The records that are whole."""
    text = (out / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


def settings_in(file):
    for line in file.read_text().splitlines():
        if " =" in line and not line.startswith("#"):
            name, value = line.split(" =", 1)
            yield name, value.strip().strip('"')


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

    def test_every_number_is_that_of_the_records_and_of_evaluate(self):
        done = self.train(self.out, "--epochs", 3)
        self.assertIn(f"report: {self.out}/report.html", done.stderr)
        html = (self.out / "report.html").read_text()
        page = Page(html)
        self.assertEqual(page.faults, [])
        self.assertLess(len(html), 2_000_000)
        logits_file = self.directory / "logits.safetensors"
        evaluated = json.loads(self.expect(run(
            1, "evaluate", "--checkpoint", self.out, "--data", self.data, "--threads", 1, "--json",
            "--logits", logits_file), 0).stdout)
        written = metrics(self.out)
        test = next(r for r in written if r["kind"] == "test")
        for name, value in evaluated.items():
            self.assertEqual(test[name], value, name)
        logits = read_safetensors(logits_file)["logits"][1]
        stored = read_safetensors(self.out / "predictions-test.safetensors")
        self.assertEqual(stored["logits"], ([500, 10], logits))
        labels = list(read_idx("t10k-labels-idx1-ubyte")[1][:500])
        self.assertEqual(stored["labels"][1], tuple(labels))
        decisions = [json.loads(line) for line in (self.out / "decisions.jsonl").read_text().splitlines()]
        launch = json.loads((self.out / "launch.json").read_text())
        wanted = expected.numbers(written, decisions, launch, logits, labels)
        self.assertEqual(list(page.numbers), list(wanted))
        for section, values in wanted.items():
            self.assertEqual(len(page.numbers[section]), len(values), section)
            for place, (shown, value) in enumerate(zip(page.numbers[section], values)):
                self.assertTrue(expected.same(shown, value),
                                f"{section}: number {place}: {shown}, expected {value}")

        # What is read is what is meant, rounded.
        self.assertEqual(len(page.shown), sum(map(len, wanted.values())))
        for section, text, value in page.shown:
            self.assertTrue(expected.reads_as(section, text, value), f"{section}: '{text}' for {value}")

        for image, label, taken_for, _, _ in expected.errors(expected.predictions(logits, labels))[:24]:
            self.assertIn(f'alt="Test image {image}: label {label}, taken for {taken_for}"', html)
        self.assertEqual(html.count("data:image/png"), min(24, page.values["test.errors"]))
        for decision in decisions:
            self.assertIn(f"epoch {decision['epoch']}: {decision['reason']}", page.text)
        for name, value in settings_in(self.out / "config.ini"):
            self.assertIn(f"{name}{value or '–'}", page.text)
        for fact in (launch["versions"], launch["numerics"], *launch["hosts"], launch["data"]["sha256"]):
            self.assertIn(fact, page.text)

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
            self.train(out, "--epochs", 2, "--learning-rate", rate, ranks=1 if out.name == "a" else 2)
        self.expect(report(*others, cwd=self.directory), 0)
        page = Page((self.directory / "report.html").read_text())
        self.assertEqual(page.faults, [])
        # A run's numbers are those of its own page.
        alone = [Page((out / "report.html").read_text()).values for out in others]
        rows = [row for row in page.cells["results"] if row]
        keys = ("test.accuracy", "test.errors", "test.loss", "best.accuracy", "best.loss", None, "calibration.error",
                "throughput", "training.seconds")
        self.assertEqual(len(rows), len(keys))
        for row, key in zip(rows, keys):
            if key:
                self.assertEqual(row, [values[key] for values in alone])
        epochs = [[d["epoch"] for d in map(json.loads, (out / "decisions.jsonl").read_text().splitlines())
                   if d["best"]][-1] for out in others]
        self.assertEqual(rows[5], epochs)
        first, second = (values["test.accuracy"] for values in alone)
        self.assertIn(f"Test accuracy{100 * first:.2f}\xa0%{100 * second:.2f}\xa0%"
                      f"{100 * (second - first):+.2f} points", page.text)
        wrong = [values["test.errors"] for values in alone]
        self.assertIn(f"{wrong[0]:.0f}{wrong[1]:.0f}{wrong[1] - wrong[0]:+.4g}", page.text)
        best = int(second > first)
        self.assertIn(f"The highest test accuracy is {100 * max(first, second):.2f}\xa0%, of {others[best].name}: "
                      f"{wrong[best]:.0f} of 500 wrong.", page.text)
        self.assertIn("ranks12", page.text)
        self.assertEqual(page.text.count(socket.gethostname()), 0)  # the host is the same
        self.assertIn("learning-rate0.0010.002", page.text)
        self.assertNotIn("batch-size", page.text)

    def stand_in(self, script):
        """An environment in which this runs in gnuplot's place. (mpirun needs the system's PATH.)"""
        place = Path(tempfile.mkdtemp(dir=self.directory))
        (place / "gnuplot").write_text(f"#!/bin/bash\n{script}\n")
        (place / "gnuplot").chmod(0o755)
        return {"PATH": f"{place}:{os.environ['PATH']}"}

    def expect_unharmed(self, out, plain):
        self.assertEqual(weights(out), weights(plain))
        self.assertEqual(*(records(run / "metrics.jsonl") for run in (out, plain)))
        self.assertEqual(sorted(path.name for path in out.glob("*.tmp")), [])

    def test_nothing_about_its_page_harms_a_run(self):
        plain = self.directory / "plain"
        self.train(plain, "--epochs", 1)
        missing_pictures = "warning: report: The pictures are missing, the tables are all there: gnuplot: "
        no_report = "warning: the run is done, but there is no report of it: "
        gnuplot = shutil.which("gnuplot") or "true"
        for name, script, message in (
                ("fails", "echo 'no terminal svg' >&2; exit 1", missing_pictures + "failed: no terminal svg"),
                ("draws nothing", "cat >/dev/null", missing_pictures + "failed: it said nothing"),
                ("dies", "kill -SEGV $$", missing_pictures + "failed: it said nothing"),
                ("floods", "exec yes", missing_pictures + "was not done after 10 s, and was ended"),
                ("hangs", "exec sleep 1000", missing_pictures + "was not done after 10 s, and was ended"),
                ("full", f"prlimit --pid $PPID --fsize=1000:; exec {gnuplot} \"$@\"", no_report)):
            with self.subTest(gnuplot=name):
                out = self.directory / name
                # Less than what a gnuplot that hangs is given: the other rank hears that the root lives.
                done = self.expect(train(2, out, *self.settings, "--epochs", 1, "--collective-timeout", 4,
                                         environment=self.stand_in(script)), 0)
                self.assertEqual([line for line in done.stderr.splitlines() if "warning" in line
                                  and message in line], [line for line in done.stderr.splitlines()
                                                         if "warning" in line])
                self.assertIn(message, done.stderr)
                self.assertEqual((out / "report.html").exists(), name != "full")
                self.expect_unharmed(out, plain)

    def test_no_page_in_a_directory_that_is_another_runs_by_now(self):
        moved = self.directory / "moved"
        swap = f"[ -e '{moved}' ] || {{ mv '{self.out}' '{moved}'; mkdir '{self.out}'; }}; exit 1"
        done = self.expect(train(1, self.out, *self.settings, "--epochs", 1, environment=self.stand_in(swap)), 0)
        self.assertRegex(done.stderr, r"there is no report of it: .*out: was removed or replaced meanwhile")
        self.assertEqual(list(self.out.iterdir()), [])

    def test_a_signal_while_the_page_is_drawn(self):
        plain = self.directory / "plain"
        self.train(plain, "--epochs", 1)
        for number, codes in ((signal.SIGUSR1, [0]), (signal.SIGTERM, [1, 143])):
            with self.subTest(signal=number):
                out, drawing = self.directory / f"signal-{number}", self.directory / f"drawing-{number}"
                # mpirun ends its ranks when it gets a TERM; launch/train makes it a USR1.
                job = subprocess.Popen(
                    command(2, "train", "--out", out, "--threads", 1, *self.settings, "--epochs", 1),
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                    env={**os.environ, **self.stand_in(f"touch '{drawing}'; sleep 2; exit 1")})
                self.addCleanup(job.kill)
                wait_for(drawing.exists, "a drawing")
                job.send_signal(number)
                errors = job.communicate(timeout=60)[1]
                self.assertIn(job.returncode, codes, errors)
                self.assertIn("done after epoch 1 of 1", errors)
                self.expect_unharmed(out, plain)
                self.assertIn("finished after epoch 1", Page(self.page_of(out)).text)

    def page_of(self, out):
        page = self.directory / "page.html"
        self.expect(report(out, "--out", page), 0)
        return page.read_text()

    def test_predictions_that_cannot_be_written_do_not_fail_the_run(self):
        plain = self.directory / "plain"
        self.train(plain, "--epochs", 2)
        for split in ("validation", "test"):
            (self.out / f"predictions-{split}.safetensors").mkdir(parents=True)
        done = self.train(self.out, "--epochs", 2)
        self.assertEqual(done.stderr.count("warning: the report will lack the predictions: "), 1)
        self.expect_unharmed(self.out, plain)

    def test_without_gnuplot(self):
        self.train(self.out, "--epochs", 1)
        result = self.expect(report(self.out, env={**os.environ, "PATH": str(self.out)}), 0)
        self.assertIn("gnuplot is not installed (Debian: gnuplot-nox)", result.stderr)
        page = Page((self.out / "report.html").read_text())
        self.assertIn("gnuplot is not installed", page.text)
        self.assertNotIn("<svg", (self.out / "report.html").read_text())

    def test_a_report_that_cannot_be_written_does_not_fail_the_run(self):
        (self.out / "report.html").mkdir(parents=True)
        result = self.train(self.out, "--epochs", 1)
        self.assertIn("the run is done, but there is no report of it: ", result.stderr)
        self.assertIn(f"results: {self.out}", result.stderr)

    def test_a_resumed_run_is_reported_as_a_whole(self):
        whole = self.directory / "whole"
        self.train(whole, "--epochs", 3)
        stopped = self.expect(train(2, self.out, *self.settings, "--epochs", 3, "--max-steps", 40), 75)
        self.assertNotIn("report", stopped.stderr)
        self.assertIn("stopped after 1 epoch of 3, step 40", Page(self.page_of(self.out)).text)
        self.train(self.out, "--epochs", 3, "--resume", "auto")
        pages = [Page((out / "report.html").read_text()) for out in (self.out, whole)]
        for section in ("confusion", "errors", "by-class", "calibration", "decisions", "frequencies"):
            self.assertEqual(*(page.numbers[section] for page in pages), section)
        # But for images a second and seconds.
        self.assertEqual(*([row[:-2] for row in page.cells["epochs"]] for page in pages))
        self.assertEqual(*(page.numbers[""][:-2] for page in pages))
        self.assertIn(", 2 starts, the last 20", pages[0].text)

    def test_a_run_that_goes_on_in_a_new_directory(self):
        self.expect(train(2, self.out, *self.settings, "--epochs", 3, "--max-steps", 40), 75)
        new = self.directory / "new"
        done = self.train(new, "--epochs", 3, "--resume", self.out)
        self.assertIn("warning: report: This run was begun in another directory: what it recorded of epoch 1 is "
                      "not here.", done.stderr)
        page = Page((new / "report.html").read_text())
        self.assertEqual(page.faults, [])
        self.assertIn("2 epochs, without validation", page.text)
        self.assertEqual([row[0] for row in page.cells["epochs"][1:]], [2, 3])

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
        self.assertEqual(list(self.directory.glob("report*")), [])
        self.train(self.out, "--epochs", 1)
        before = (self.out / "report.html").read_bytes()
        self.expect(report(self.out, "--interval", 5), 64)
        self.expect(report(self.out, "--watch", "--interval", 0), 64)
        for place in (self.directory / "no" / "page.html", self.directory, "/dev/null/page.html"):
            refused = self.expect(report(self.out, "--out", place), 73)
            self.assertIn(f"error: {place}", refused.stderr)
        self.assertIn("holds no run", self.expect(report(self.out, self.directory), 66).stderr)
        # Root could put a file in a device's place.
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        self.assertIn(f"{pipe}: is not a regular file", self.expect(report(self.out, "--out", pipe), 73).stderr)
        self.assertTrue(pipe.is_fifo())
        config = self.out / "config.ini"
        text = config.read_text()
        config.write_text(text + "no setting\n")
        self.assertIn("config.ini: line ", self.expect(report(self.out), 65).stderr)
        config.write_text(text)
        with open(self.out / "metrics.jsonl", "a") as file:
            file.write("{}\n")
        result = self.expect(report(self.out), 65)
        self.assertIn("metrics.jsonl: line ", result.stderr)
        self.assertEqual((self.out / "report.html").read_bytes(), before)
        self.assertEqual(list(self.out.glob("*.tmp")), [])

    def test_what_may_not_be_read(self):
        self.train(self.out, "--epochs", 1)
        page, picture = self.directory / "page.html", SOURCE / "data" / "pictures" / "light-7.jpg"
        # What root may read is no matter of modes.
        plain = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
        best = self.out / "checkpoints" / (self.out / "checkpoints" / "BEST").read_text().strip()
        for path, name, *words in (
                (self.out, self.out, "report", self.out, "--out", page), (self.out, self.out, "inspect", self.out),
                (self.out / "launch.json", "launch.json", "report", self.out, "--out", page),
                (self.out / "metrics.jsonl", "metrics.jsonl", "inspect", self.out),
                (self.out / "checkpoints", "checkpoints", "predict", "--checkpoint", self.out, picture),
                (best, best, "predict", "--checkpoint", self.out, picture)):
            with self.subTest(path=path, words=words[0]):
                mode = path.stat().st_mode
                path.chmod(0)
                try:
                    command = [*(plain if os.geteuid() == 0 else []), PROGRAM, *words]
                    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
                finally:
                    path.chmod(mode)
                self.assertIn(result.returncode, (66, 74), result.stderr)
                self.assertIn(str(name), result.stderr)
                self.assertIn("Permission denied", result.stderr)
                self.assertEqual(result.stdout, "")
                self.assertFalse(page.exists())

    def test_records_that_were_cut_short(self):
        self.train(self.out, "--epochs", 2)
        path = self.out / "metrics.jsonl"
        content = path.read_bytes()
        path.write_bytes(content[:-10])  # in the middle of the test's record
        result = self.expect(report(self.out), 0)
        self.assertIn("warning: metrics.jsonl: its last line was cut short (", result.stderr)
        page = Page((self.out / "report.html").read_text())
        self.assertIn("its last line was cut short", page.text)
        self.assertIn("stopped after 2 epochs of 2", page.text)
        self.assertNotIn("test.accuracy", page.values)
        self.assertIn("best.accuracy", page.values)


if __name__ == "__main__":
    main()
