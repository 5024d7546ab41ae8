"""lockstep inspect: data sets, checkpoints and runs, whole, damaged and missing; the page of a data set."""

import fcntl
import gzip
import json
import os
import pty
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import unittest

from harness import (FASHION, PROGRAM, SOURCE, ProgramTest, checkpoints, command, idx_bytes, main,
                     processes_with, read_idx, run, train, wait_for, write_csv, write_small_mnist)

sys.path.insert(0, str(SOURCE / "tests" / "report"))
import browser  # noqa: E402
import page_test  # noqa: E402
from page import Page  # noqa: E402

MNIST = SOURCE / "data" / "mnist"
SIDE = 28
SIZE = SIDE * SIDE


class Inspection(ProgramTest):
    def inspect(self, *arguments, code=0, **options):
        # Without mpirun, as it is meant to be started.
        result = subprocess.run([PROGRAM, "inspect", *map(str, arguments)], capture_output=True, text=True,
                                timeout=120, **options)
        return self.expect(result, code)

    def expect_nothing_written(self, directory):
        self.assertEqual([path.name for path in directory.rglob("*") if path.is_file()] if directory.exists() else [],
                         [])

    def facts(self, *arguments, code=0):
        return json.loads(self.inspect("--json", *arguments, code=code).stdout)


class DataTest(Inspection):
    def test_mnist(self):
        facts = self.facts(SOURCE / "data" / "mnist")
        self.assertEqual(facts["kind"], "data")
        for part, name, count in zip(facts["parts"], ("train", "t10k"), (60000, 10000)):
            _, pixels = read_idx(f"{name}-images-idx3-ubyte")
            _, labels = read_idx(f"{name}-labels-idx1-ubyte")
            self.assertEqual((part["images"], part["shape"]), (count, [1, SIDE, SIDE]))
            self.assertEqual(part["class_counts"], [labels.count(bytes([c])) for c in range(10)])
            self.assertAlmostEqual(part["pixels"]["mean"], sum(pixels) / len(pixels), delta=1e-9)
            self.assertEqual(part["pixels"]["zeros"], pixels.count(0) / len(pixels))
            self.assertEqual((part["damaged"], part["pixels"]["images_of_one_value"]), ([], []))
            images = [pixels[i:i + SIZE] for i in range(0, len(pixels), SIZE)]
            self.assertEqual(len(part["repeated"]), count - len(set(images)))
        text = self.inspect(SOURCE / "data" / "mnist").stdout
        self.assertRegex(text, r"training +60,000  1x28x28 ")
        self.assertRegex(text, r"\n    1   6,742   11.24 %  #+ +1,135   11.35 %  #+\n")
        self.assertIn("No entry is missing or damaged.", text)
        self.assertLessEqual(max(len(line) for line in text.splitlines() if "/" not in line), 100)

    def test_copies_of_mnist_say_the_same(self):
        raw = self.directory / "raw"
        raw.mkdir()
        for file in MNIST.glob("*-ubyte.gz"):
            (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        embedded, copied = self.facts(MNIST), self.facts(raw)
        for facts in (embedded, copied):
            facts.pop("path")
            for part in facts["parts"]:
                part.pop("source")
        self.assertEqual(embedded, copied)
        pixels, labels = (read_idx(f"t10k-{name}-ubyte")[1] for name in ("images-idx3", "labels-idx1"))
        csv = write_csv(self.directory / "test.csv", pixels, labels, header=False, end="\r\n")
        part = self.facts(csv)["parts"][0]
        self.assertEqual({**part, "part": "test"}, {**embedded["parts"][1], "source": str(csv)})

    @unittest.skipUnless(FASHION.exists(), "Debian's dataset-fashion-mnist is not installed")
    def test_fashion_mnist(self):
        facts = self.facts(FASHION, "--out", self.directory / "page")
        for part, name in zip(facts["parts"], ("train", "t10k")):
            pixels = gzip.decompress((FASHION / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
            labels = gzip.decompress((FASHION / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
            self.assertEqual(part["class_counts"], [labels.count(bytes([c])) for c in range(10)])
            self.assertAlmostEqual(part["pixels"]["mean"], sum(pixels) / len(pixels), delta=1e-9)
            images = {pixels[i:i + SIZE] for i in range(0, len(pixels), SIZE)}
            self.assertEqual(len(part["repeated"]), part["images"] - len(images))
        self.assertEqual(Page((self.directory / "page" / "data.html").read_text()).faults, [])

    def test_duplicates(self):
        _, pixels = read_idx("train-images-idx3-ubyte")
        images = [pixels[i * SIZE:(i + 1) * SIZE] for i in range(100)]
        labels = bytearray(read_idx("train-labels-idx1-ubyte")[1][:100])
        images[40] = images[7]
        labels[40] = (labels[7] + 1) % 10
        images[90] = images[7]
        labels[90] = labels[7]
        training = write_csv(self.directory / "training.csv", b"".join(images), labels)
        test_images = [pixels[i * SIZE:(i + 1) * SIZE] for i in range(200, 220)]
        test_labels = bytearray(read_idx("train-labels-idx1-ubyte")[1][200:220])
        test_images[3], test_labels[3] = images[12], labels[12]
        test_images[5], test_labels[5] = images[7], (labels[7] + 2) % 10
        test = write_csv(self.directory / "test.csv", b"".join(test_images), test_labels)
        for fraction, seed in ((0.1, 1), (0.3, 2), (0.5, 3)):
            arguments = (training, "--test-data", test, "--validation-fraction", fraction, "--split-seed", seed)
            facts = self.facts(*arguments)
            self.assertEqual([(same["image"], same["of"]) for same in facts["parts"][0]["repeated"]],
                             [(41, 8), (91, 8)])
            self.assertEqual(facts["parts"][1]["repeated"], [])
            validation, tested = facts["overlaps"]
            self.assertEqual((validation["part"], validation["images"]), ("validation", round(100 * fraction)))
            self.assertEqual((tested["part"], tested["with"], tested["images"]), ("test", "training", 20))
            self.assertEqual([(same["image"], same["of"]) for same in tested["same"]], [(4, 13), (6, 8)])
            self.assertEqual([same["label"] == same["label_of"] for same in tested["same"]], [True, False])
            for same in validation["same"]:
                self.assertIn(same["image"], (8, 41, 91))
                self.assertIn(same["of"], {8, 41, 91} - {other["image"] for other in validation["same"]})
        text = self.inspect(*arguments).stdout
        self.assertIn("training images that repeat an earlier one: 2, 1 of them with another label", text)
        self.assertIn(f"training image 41 is training image 8, labelled {labels[40]} and {labels[7]}", text)
        self.assertIn("test images (of 20) that are among those of training: 2, 1 of them", text)
        # All held out but three, or all but those: nothing of the group can be on both sides.
        self.assertTrue(any(self.facts(training, "--validation-fraction", 0.5, "--split-seed", seed)
                            ["overlaps"][0]["same"] for seed in range(1, 6)))

    def test_damaged_data(self):
        data = write_small_mnist(self.directory / "data", training=50, test=20)
        labels = data / "train-labels-idx1-ubyte"
        content = bytearray(labels.read_bytes())
        content[8 + 4] = 10
        content[8 + 30] = 255
        labels.write_bytes(content)
        facts = self.facts(data, code=65)
        self.assertEqual([part["images"] for part in facts["parts"]], [48, 20])
        self.assertEqual(len(facts["parts"][0]["damaged"]), 2)
        self.assertIn("label 10 at byte 12 (sample 4)", facts["parts"][0]["damaged"][0])
        text = self.inspect(data, code=65).stdout
        self.assertIn("training: 2 damaged, left out above:", text)
        # A part that cannot be read at all: the other is shown all the same.
        images = data / "t10k-images-idx3-ubyte"
        images.write_bytes(images.read_bytes()[:-1])
        labels.write_bytes(idx_bytes((50,), bytes(50)))
        text = self.inspect(data, code=65).stdout
        self.assertRegex(text, r"training +50 ")
        self.assertRegex(text, r"test: cannot be used: .*t10k-images-idx3-ubyte: ")
        images.unlink()
        facts = self.facts(data, code=66)
        self.assertIn("t10k-images-idx3-ubyte not found", facts["parts"][1]["problem"])
        csv = write_csv(self.directory / "rows.csv", bytes(SIZE * 30), [1] * 30)
        lines = csv.read_text().splitlines()
        for n in range(3, 20):
            lines[n] = lines[n].replace(",0", ",", 1)
        csv.write_text("\n".join(lines) + "\n")
        text = self.inspect(csv, code=65).stdout
        self.assertIn("images: 17 damaged, left out above:", text)
        self.assertIn("line 4, column 2: found an empty cell", text)
        self.assertIn("and 7 more", text)
        self.assertRegex(text, r"images +mean|pixels +mean")
        self.assertIn("images that repeat an earlier one: 12", text)

    def test_one_file(self):
        data = write_small_mnist(self.directory / "data", training=50, test=20)
        facts = self.facts(data / "train-images-idx3-ubyte")
        self.assertNotIn("class_counts", facts["parts"][0])
        self.assertEqual((facts["parts"][0]["part"], facts["overlaps"]), ("images", []))
        self.inspect(data / "train-images-idx3-ubyte")
        one = write_csv(self.directory / "one.csv", bytes(SIZE), [3])
        self.assertEqual(self.facts(one)["parts"][0]["pixels"]["images_of_one_value"], [1])

    def test_truncated_and_damaged_files_that_leave_nothing(self):
        data = write_small_mnist(self.directory / "data", training=50, test=20)
        images, labels = data / "train-images-idx3-ubyte", data / "train-labels-idx1-ubyte"
        for file in (data / "t10k-images-idx3-ubyte", data / "t10k-labels-idx1-ubyte"):
            file.unlink()
        whole = {file: file.read_bytes() for file in (images, labels)}
        for file, content in whole.items():
            for size in (0, 3, 7, len(content) // 2, len(content) - 1):
                for arguments in ((data,), (data, "--json"), (data, "--out", self.directory / "page")):
                    file.write_bytes(content[:size])
                    result = self.inspect(*arguments, code=65)
                    self.assertIn(f"error: {file}", result.stderr)
                    self.assertEqual(result.stdout, "")
            file.write_bytes(content)
        self.expect_nothing_written(self.directory / "page")
        images.write_bytes(gzip.compress(whole[images])[:-20])
        self.assertIn(str(images), self.inspect(data, code=65).stderr)
        csv = self.directory / "rows.csv"
        csv.write_text("3,1,1,1,256\n,0,0,0,0\n")
        self.assertIn(f"{csv}: no image; the first that is damaged: {csv}: line 1, column 5: found '256'",
                      self.inspect(csv, code=65).stderr)


class CheckpointTest(Inspection):
    def test_checkpoints(self):
        data = write_small_mnist(self.directory / "data")
        out = self.directory / "run"
        self.expect(train(2, out, "--data", data, "--model", "mlp", "--batch-size", 100, "--epochs", 2,
                          "--ema-decay", 0.9), 0)
        directory = out / "checkpoints" / checkpoints(out)[-1]
        facts = self.facts(directory)
        self.assertEqual((facts["kind"], facts["verified"]), ("checkpoint", True))
        self.assertEqual(facts["state"], json.loads((directory / "state.json").read_text()))
        files = {file["name"]: file for file in facts["files"]}
        manifest = json.loads((directory / "MANIFEST.json").read_text().splitlines()[0])
        self.assertEqual([(f["name"], f["size"], f["sha256"]) for f in manifest["files"]],
                         [(f["name"], f["size"], f["sha256"]) for f in facts["files"]])
        self.assertEqual({"ema.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"}, set(files))
        shapes = {tensor["name"]: tensor["shape"] for tensor in files["model.safetensors"]["tensors"]}
        self.assertEqual(shapes["dense1.weight"], [256, SIZE])
        self.assertEqual(sum(tensor["values"] for tensor in files["model.safetensors"]["tensors"]), 235146)
        for tensor in files["model.safetensors"]["tensors"]:
            self.check_statistics(directory / "model.safetensors", tensor)
        text = self.inspect(directory).stdout
        self.assertIn("SHA-256 of all 4 files are right", text)
        self.assertIn("model.safetensors: 6 tensors, 235,146 values", text)
        self.assertIn("after epoch 2; the run ended here: done", text)
        self.assertRegex(text, r"best +validation accuracy 0\.\d+ after epoch \d")
        model = directory / "model.safetensors"
        content = bytearray(model.read_bytes())
        content[-1] ^= 1
        model.write_bytes(content)
        facts = self.facts(directory, code=65)
        self.assertFalse(facts["verified"])
        self.assertIn("model.safetensors", facts["problem"])
        self.assertRegex(self.inspect(directory, code=65).stdout, r"DAMAGED +.*model\.safetensors")
        model.write_bytes(content[:-5])
        self.assertRegex(self.inspect(directory, code=65).stdout, r"DAMAGED +.*model\.safetensors")
        model.unlink()
        self.assertRegex(self.inspect(directory, code=65).stdout, r"DAMAGED +.*model\.safetensors")
        (directory / "MANIFEST.json").unlink()
        self.assertRegex(self.inspect(directory, code=65).stdout, r"DAMAGED +.*MANIFEST\.json")

    def check_statistics(self, path, tensor):
        """Against the file read by hand."""
        import struct
        content = path.read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:8 + length])[tensor["name"]]
        begin, end = header["data_offsets"]
        values = struct.unpack(f"<{(end - begin) // 4}f", content[8 + length + begin:8 + length + end])
        mean = sum(values) / len(values)
        self.assertAlmostEqual(tensor["mean"], mean, delta=1e-7)
        self.assertAlmostEqual(tensor["standard_deviation"],
                               (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5, delta=1e-6)
        self.assertEqual((tensor["smallest"], tensor["largest"]), (min(values), max(values)))
        self.assertEqual(tensor["not_finite"], 0)

    def test_options_of_data_sets_are_refused(self):
        directory = self.directory / "checkpoint"
        directory.mkdir()
        (directory / "MANIFEST.json").write_text("{}")
        for option in (("--test-data", "x"), ("--stratify",), ("--rotation", 3), ("--out", self.directory / "page")):
            self.assertIn("is a checkpoint, not a data set", self.inspect(directory, *option, code=64).stderr)
        self.assertFalse((self.directory / "page").exists())


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
        for name in ("started", "world_size", "hosts", "versions", "numerics", "backend"):
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
        self.assertRegex(text, rf"\nstep-{best['step']:08}  yes, after epoch {best['epoch']}(, the newest)?, the best\n")
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


class PageTest(Inspection):
    def page(self, *arguments, code=0, **options):
        self.place = self.directory / "pages" / "mine"
        result = self.inspect(*arguments, "--out", self.place, code=code, **options)
        self.html = (self.place / "data.html").read_text()
        self.assertIn(f"page: {self.place}/data.html", result.stderr)
        self.assertEqual([path.name for path in self.place.iterdir()], ["data.html"])
        page = Page(self.html)
        self.assertEqual(page.faults, [])
        self.assertLess(len(self.html), 2_000_000)
        return page

    def test_every_number_is_that_of_the_files(self):
        page = self.page(MNIST)
        parts = []
        for name in ("train", "t10k"):
            pixels, labels = (read_idx(f"{name}-{kind}-ubyte")[1] for kind in ("images-idx3", "labels-idx1"))
            mean = sum(pixels) / len(pixels)
            counts = [pixels.count(bytes([value])) for value in range(256)]
            squares = sum(value * value * count for value, count in enumerate(counts)) / len(pixels)
            parts.append(([labels.count(bytes([c])) for c in range(10)], [mean, (squares - mean * mean) ** 0.5, 0, 255,
                                                                        counts[0] / len(pixels), 0]))
        self.assertEqual(page.cells["frequencies"][1:11], [list(pair) for pair in zip(*(part[0] for part in parts))])
        self.assertEqual(page.cells["frequencies"][11], [60000, 10000])
        for row, values in zip(page.cells["pixels"][1:], zip(*(part[1] for part in parts))):
            for shown, value in zip(row, values):
                self.assertAlmostEqual(shown, value, delta=1e-9)
        self.assertEqual(page.cells["duplicates"][1:], [[60000, 0, 0], [10000, 0, 0], [6000, 0, 0], [10000, 0, 0]])
        self.assertEqual({name: page.values[name] for name in ("training.images", "test.images", "damaged", "repeated",
                                                               "validation.same", "test.same")},
                         {"training.images": 60000, "test.images": 10000, "damaged": 0, "repeated": 0,
                          "validation.same": 0, "test.same": 0})
        for part in self.facts(MNIST)["parts"]:
            self.assertIn(part["sha256"], page.text)

    @unittest.skipUnless(browser.find(), "there is no Chromium (Debian: chromium)")
    def test_images_are_those_of_the_files(self):
        self.page(MNIST, "--seed", 5)
        _, pixels = read_idx("train-images-idx3-ubyte")
        _, labels = read_idx("train-labels-idx1-ubyte")
        tab = browser.Browser(browser.find())
        self.addCleanup(tab.close)
        for width in (1280, 390):
            tab.show(self.place / "data.html", width)
            self.assertEqual(tab.evaluate(page_test.OVERFLOWING), [])
            self.assertEqual(tab.evaluate(page_test.DRAWINGS), [])
            self.assertEqual(tab.complaints, [])
        images = tab.evaluate("""[...document.querySelectorAll('.row img')].map(image => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
            return [image.alt, [...rgba].filter((_, i) => i % 4 === 0)];
        })""")
        stored, distorted = ([entry for entry in images if entry[0].startswith(name)]
                             for name in ("Training image", "Distorted training image"))
        self.assertEqual((len(stored), len(distorted)), (100, 100))
        for (text, shown), (distorted_text, changed) in zip(stored, distorted):
            words = text.replace(",", "").split()
            image, label = int(words[2]) - 1, int(words[4])
            self.assertEqual(labels[image], label)
            original = list(pixels[image * SIZE:(image + 1) * SIZE])
            self.assertEqual(shown, original, text)
            self.assertEqual(distorted_text, "Distorted t" + text[1:])
            self.assertNotEqual(changed, original)
            # A digit moves and turns; its ink stays, but for what leaves the image.
            self.assertLess(abs(sum(changed) - sum(original)), 0.4 * sum(original), text)

    def png_of(self, alt):
        """The picture with that description, as the page has it."""
        before = self.html[:self.html.index(f'alt="{alt}"')]
        return before[before.rindex("base64,"):].partition('"')[0]

    def test_settings_of_training_decide_on_the_distortion(self):
        data = write_small_mnist(self.directory / "data", training=200, test=20)
        name = "Distorted training image 1, class 5"
        self.page(data)
        first = self.png_of(name)
        self.page(data)
        self.assertEqual(self.png_of(name), first)
        self.page(data, "--seed", 2)
        self.assertNotEqual(self.png_of(name), first)
        config = self.directory / "my.ini"
        config.write_text("rotation = 33\nzoom = 0\nshift-x = 0\nshift-y = 0.05\ndata = elsewhere\ntest-data = gone\n")
        page = self.page(data, "--config", config)
        self.assertIn("rotated by up to 33 degrees, zoomed by up to 0 %, shifted by up to 0 % of the width and 5 %",
                      page.text)
        self.assertNotEqual(self.png_of(name), first)
        still = self.page(data, "--rotation", 0, "--zoom", 0, "--shift-x", 0, "--shift-y", 0)
        self.assertIn("augmentation is off", still.text)
        self.assertEqual(self.html.count("data:image/png"), 100)
        self.assertIn("augmentation is off", self.page(data, "--augment", "no").text)
        self.assertIn("needs --out", self.inspect(data, "--rotation", 3, code=64).stderr)

    def test_damage_and_duplicates_are_on_the_page(self):
        _, pixels = read_idx("train-images-idx3-ubyte")
        labels = bytearray(read_idx("train-labels-idx1-ubyte")[1][:60])
        images = [pixels[i * SIZE:(i + 1) * SIZE] for i in range(60)]
        images[30] = images[4]
        labels[30] = (labels[4] + 1) % 10
        csv = write_csv(self.directory / "rows.csv", b"".join(images), labels)
        lines = csv.read_text().splitlines()
        lines[60] = lines[60] + ",1"
        csv.write_text("\n".join(lines) + "\n")
        page = self.page(csv, code=65)
        self.assertIn(f"{csv}: line 61 has 786 columns, expected 785", page.text)
        self.assertIn(f"image 31 is image 5, with another label: {labels[30]} and {labels[4]}", page.text)
        self.assertEqual((page.values["images.images"], page.values["damaged"], page.values["repeated"]), (59, 1, 1))
        self.assertEqual(page.cells["duplicates"][1], [59, 1, 1])

    def test_without_gnuplot(self):
        data = write_small_mnist(self.directory / "data", training=50, test=20)
        page = self.page(data, env={**os.environ, "PATH": str(self.directory)})
        self.assertIn("gnuplot is not installed (Debian: gnuplot-nox)", page.text)
        self.assertNotIn("<svg", self.html)
        self.assertEqual(self.html.count("data:image/png"), 100)

    def test_a_page_that_cannot_be_written(self):
        data = write_small_mnist(self.directory / "data", training=50, test=20)
        file = self.directory / "file"
        file.write_text("mine\n")
        for place in (file, file / "page", "/dev/null/page", "/proc/page"):
            for more in ((), ("--json",)):
                result = self.inspect(data, "--out", place, *more, code=73)
                self.assertIn(f"error: {place}", result.stderr)
                self.assertEqual(result.stdout, "")
        self.assertEqual(file.read_text(), "mine\n")
        # An old page stays until the new one is whole.
        self.page(data)
        old = self.html

        def no_room():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

        result = self.inspect(data, "--seed", 9, "--out", self.place, code=74, preexec_fn=no_room)
        self.assertIn(f"error: {self.place}", result.stderr)
        self.assertEqual((self.place / "data.html").read_text(), old)
        self.assertEqual([path.name for path in self.place.iterdir()], ["data.html"])
        (self.place / "data.html").unlink()
        (self.place / "data.html").mkdir()
        self.assertIn("data.html", self.inspect(data, "--out", self.place, code=73).stderr)
        self.assertEqual([path.name for path in self.place.iterdir()], ["data.html"])


class RefusalTest(Inspection):
    def test_what_is_refused(self):
        self.assertIn("PATH", self.inspect(code=64).stderr)
        self.inspect("a", "b", code=64)
        self.assertIn("none", self.inspect(self.directory / "none", code=66).stderr)
        (self.directory / "stray").mkdir()
        for arguments in ((), ("--json",), ("--out", self.directory / "page")):
            result = self.inspect(self.directory, *arguments, code=66)
            self.assertIn("is no data set (train-images-idx3-ubyte and so on), no checkpoint (MANIFEST.json) and no run",
                          result.stderr)
            self.assertEqual(result.stdout, "")
        self.assertFalse((self.directory / "page").exists())
        (self.directory / "loop").symlink_to("loop")
        self.assertIn("loop: ", self.inspect(self.directory / "loop", code=66).stderr)
        png = self.directory / "a.png"
        png.write_bytes(b"\x89PNG\r\n\x1a\n")
        self.assertIn("a PNG image", self.inspect(png, "--json", code=65).stderr)
        # Under mpirun the root alone speaks.
        data = write_small_mnist(self.directory / "data", training=50, test=20)
        self.assertEqual(self.expect(run(2, "inspect", data), 0).stdout, self.inspect(data).stdout)
        with open("/dev/full", "wb") as full:
            result = subprocess.run([PROGRAM, "inspect", data], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(result.returncode, 74, result.stderr)
        shutil.rmtree(data)


if __name__ == "__main__":
    main()
