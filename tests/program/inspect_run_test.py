"""lockstep inspect of run directories: done, stopped, killed, damaged, and going on."""

import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import termios

from harness import PROGRAM, checkpoints, command, main, processes_with, train, wait_for, write_small_mnist
from inspection import Inspection


class RunTest(Inspection):
    def setUp(self):
        super().setUp()
        self.data = write_small_mnist(self.directory / "data", training=1000, test=100)
        self.out = self.directory / "run"
        self.settings = ["--data", self.data, "--model", "mlp", "--batch-size", 100]

    def train(self, *arguments, ranks=2, code=0):
        return self.expect(train(ranks, self.out, *self.settings, *arguments), code)

    def lines_of(self, file):
        return [json.loads(line) for line in (self.out / file).read_text().splitlines()]

    def on_a_terminal(self, rows, columns):
        """What a terminal of this size is told."""
        terminal, program = pty.openpty()
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = subprocess.Popen([PROGRAM, "inspect", str(self.out)], stdout=program, stderr=subprocess.PIPE)
        os.close(program)
        text = b""
        try:
            while part := os.read(terminal, 65536):
                text += part
        except OSError:  # its other end is closed
            pass
        os.close(terminal)
        self.assertEqual(process.wait(60), 0, process.communicate()[1])
        return text.decode().replace("\r\n", "\n").splitlines()

    def test_history(self):
        self.train("--epochs", 5, "--schedule", "plateau", "--patience", 1, "--learning-rate", 0.02)
        facts = self.facts(self.out)
        self.assertEqual((facts["kind"], facts["status"], facts["step"]), ("run", "done", 45))
        metrics, decisions = self.lines_of("metrics.jsonl"), self.lines_of("decisions.jsonl")
        kinds = {kind: [r for r in metrics if r["kind"] == kind] for kind in ("train", "validation", "test")}
        self.assertEqual(len(facts["epochs"]), 5)
        for epoch, trained, validated, decided in zip(facts["epochs"], kinds["train"], kinds["validation"], decisions):
            for name in ("epoch", "step", "loss", "accuracy", "learning_rate", "samples_per_second"):
                self.assertEqual(epoch[name], trained[name])
            for name in ("loss", "accuracy", "samples"):
                self.assertEqual(epoch["validation"][name], validated[name])
            for name in ("reason", "best", "stop", "learning_rate_after"):
                self.assertEqual(epoch["decision"][name], decided[name])
        best = [d for d in decisions if d["best"]][-1]
        self.assertEqual((facts["best"]["epoch"], facts["best"]["step"]), (best["epoch"], best["step"]))
        self.assertEqual(facts["test"], {name: kinds["test"][0][name] for name in ("loss", "accuracy", "samples")})
        self.assertEqual(facts["settings"]["batch-size"], "100")
        launch = json.loads((self.out / "launch.json").read_text())
        self.assertGreater(launch["first_step_seconds"], 0.1)
        self.assertLess(launch["first_step_seconds"], 60)
        for name in ("started", "world_size", "hosts", "versions", "numerics", "backend", "first_step_seconds"):
            self.assertEqual(facts["launches"][0][name], launch[name])
        self.assertEqual([c["name"] for c in facts["checkpoints"]], checkpoints(self.out))
        self.assertTrue(all(c["verified"] for c in facts["checkpoints"]))
        self.assertEqual([c["global_step"] for c in facts["checkpoints"] if c["best"]], [best["step"]])
        self.assertEqual([c["global_step"] for c in facts["checkpoints"] if c["newest"]], [45])
        self.check_text(self.inspect(self.out).stdout, kinds, decisions, best)

    def check_text(self, text, kinds, decisions, best):
        words = " ".join(text.split())
        self.assertIn("status finished after epoch 5 of 5 started", words)
        self.assertIn("; 2 ranks on ", words)
        self.assertRegex(words, r"; first step after \d+\.\d\d s")
        self.assertIn("network mlp, 235,146 parameters", words)
        self.assertIn("model=mlp", words)
        self.assertNotIn("momentum", words)  # as by default
        for epoch, (trained, validated, decided) in enumerate(zip(kinds["train"], kinds["validation"], decisions), 1):
            mark = "* " if epoch == best["epoch"] else ""
            self.assertIn(f"{epoch} {trained['loss']:.4f} {100 * trained['accuracy']:.2f} % {validated['loss']:.4f} "
                          f"{100 * validated['accuracy']:.2f} % {trained['learning_rate']:.4g} {mark}"
                          f"{decided['reason']}", words)
        self.assertIn(f"accuracy {100 * kinds['test'][0]['accuracy']:.2f} %, 100 images", words)
        for name in checkpoints(self.out):
            self.assertRegex(text, rf"\n{name}  yes, after epoch \d")
        self.assertRegex(text, rf"\nstep-{best['step']:08}  yes, after epoch {best['epoch']}(, the newest)?, the "
                               "best\n")
        self.assertIn("step-00000045  yes, after epoch 5, the newest", text)
        self.assertLessEqual(max(len(line) for line in text.splitlines() if "/" not in line), 100)

    def test_one_screen(self):
        self.train("--epochs", 60, "--schedule", "plateau", "--patience", 2, ranks=1)
        facts = self.facts(self.out)
        self.assertEqual(len(facts["epochs"]), 60)
        eventful = {e["epoch"] for e in facts["epochs"] if e["learning_rate"] != e["decision"]["learning_rate_after"]}
        for rows, columns in ((40, 100), (60, 120), (200, 90)):
            lines = self.on_a_terminal(rows, columns)
            self.assertLess(len(lines), rows)
            self.assertLessEqual(max(len(line) for line in lines if "/" not in line), columns)
            shown = [int(line.split()[0]) for line in lines if line[:5].strip().isdigit()]
            self.assertEqual(shown, sorted(set(shown)))
            self.assertEqual((shown[0], shown[-1]), (1, 60))
            self.assertIn(facts["best"]["epoch"], shown)
            hidden = [line for line in lines if "are not shown" in line]
            self.assertEqual(hidden, [f"{60 - len(shown)} epochs in which less happened are not shown (--json has all)"]
                             if len(shown) < 60 else [])
            # What was left out is the quiet epochs, as long as there are any.
            if len(shown) > len(eventful) + 3:
                self.assertLessEqual(eventful, set(shown))
        self.assertEqual(len(shown), 60)
        # However small it is, the table does not vanish.
        lines = self.on_a_terminal(5, 60)
        self.assertGreaterEqual(len([line for line in lines if line[:5].strip().isdigit()]), 3)
        # The pipe's screen is 40 lines.
        self.assertLess(len(self.inspect(self.out).stdout.splitlines()), 40)

    def test_early_stop(self):
        self.train("--epochs", 50, "--early-stopping", 1, "--learning-rate", 0.5, ranks=1)
        facts = self.facts(self.out)
        self.assertEqual(facts["status"], "done")
        self.assertLess(len(facts["epochs"]), 50)
        self.assertRegex(facts["end"], r"^finished after epoch \d+ of 50: no gain for 1 epoch.*: early stop$")

    def test_runs_that_stopped(self):
        self.train("--epochs", 3, "--max-steps", 12, code=75)
        facts = self.facts(self.out)
        self.assertEqual((facts["status"], facts["end"]), (
            "stopped", "stopped after 1 epoch of 3, step 12: the limit on steps or minutes was reached"))
        self.assertEqual([c["stop_reason"] for c in facts["checkpoints"]], ["none", "limit"])
        # In mid-training it has neither test nor a second epoch.
        self.assertNotIn("test", facts)
        self.assertEqual(len(facts["epochs"]), 1)
        shutil.rmtree(self.out / "checkpoints")
        self.assertIn("killed or failed, without a checkpoint", self.facts(self.out)["end"])
        self.assertIn("\nno checkpoint\n", self.inspect(self.out).stdout)

    def test_a_run_that_goes_on_and_is_killed(self):
        job = subprocess.Popen(
            command(1, "train", "--out", self.out, "--threads", 1, *self.settings, "--epochs", 400, "--log-every-steps",
                    1, "--inject-fault", "slow@forward:rank=all,seconds=0.02"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        wait_for(lambda: self.out.exists() and (self.out / "checkpoints").exists() and len(checkpoints(self.out)) >= 2,
                 "checkpoints")
        for _ in range(10):  # while it removes old checkpoints
            facts = self.facts(self.out)
            self.assertEqual(facts["status"], "running")
            self.assertRegex(facts["end"], r"^running, after \d+ epochs? of 400, step \d+$")
        for process in processes_with(str(self.out), "cmdline"):
            os.kill(process, signal.SIGKILL)
        job.wait()
        facts = wait_for(lambda: (lambda f: f if f["status"] == "stopped" else None)(self.facts(self.out)), "its end")
        newest = max(c["global_step"] for c in facts["checkpoints"])
        self.assertIn(f"killed or failed; it can go on from step {newest}", facts["end"].replace(",", ""))

    def test_damage(self):
        self.train("--epochs", 3, ranks=1)
        names = checkpoints(self.out)
        model = self.out / "checkpoints" / names[0] / "model.safetensors"
        whole = model.read_bytes()
        model.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        facts = self.facts(self.out, code=65)
        self.assertEqual([c["verified"] for c in facts["checkpoints"]], [False, True, True])
        self.assertIn("model.safetensors", facts["checkpoints"][0]["problem"])
        self.assertRegex(self.inspect(self.out, code=65).stdout, rf"{names[0]}  DAMAGED: .*\n? *.*model\.safetensors")
        (self.out / "checkpoints" / names[0]).rename(self.out / "checkpoints" / (names[0] + ".damaged"))
        facts = self.facts(self.out)
        self.assertEqual((len(facts["checkpoints"]), facts["set_aside"]), (2, [names[0] + ".damaged"]))
        self.assertRegex(self.inspect(self.out).stdout, rf"set aside +{names[0]}\.damaged")
        metrics = self.out / "metrics.jsonl"
        content = metrics.read_bytes()
        metrics.write_bytes(content[:-10])  # in the test's record
        facts = self.facts(self.out)
        self.assertIn("its last line was cut short", facts["notes"][0])
        self.assertNotIn("test", facts)
        self.assertIn("note ", self.inspect(self.out).stdout)
        metrics.write_bytes(b"{}\n" + content)
        for arguments in ((self.out,), (self.out, "--json")):
            result = self.inspect(*arguments, code=65)
            self.assertIn("metrics.jsonl: line 1", result.stderr)
            self.assertEqual(result.stdout, "")
        for option in (("--test-data", "x"), ("--seed", 3), ("--out", self.directory / "page")):
            self.assertIn("is a run, not a data set", self.inspect(self.out, *option, code=64).stderr)
        self.assertFalse((self.directory / "page").exists())

    def test_a_run_that_has_just_begun(self):
        self.out.mkdir()
        (self.out / "config.ini").write_text("# Model and machine\nmodel = mlp\n")
        facts = self.facts(self.out)
        self.assertEqual((facts["status"], facts["epochs"], facts["checkpoints"]), ("stopped", [], []))
        self.assertIn("no epoch is complete", self.inspect(self.out).stdout)


if __name__ == "__main__":
    main()
