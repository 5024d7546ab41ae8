"""lockstep inspect: data sets and checkpoints, whole, damaged and missing."""

import gzip
import json
import shutil
import subprocess
import unittest

from harness import (FASHION, PROGRAM, checkpoints, idx_bytes, main, read_idx, run, train, write_csv,
                     write_small_mnist)
from inspection import MNIST, SIDE, SIZE, Inspection


class DataTest(Inspection):
    def test_mnist(self):
        facts = self.facts(MNIST)
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
        text = self.inspect(MNIST).stdout
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
        self.assertEqual((self.directory / "page" / "data.html").read_text().count("data:image/png"), 200)

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


class RefusalTest(Inspection):
    def test_what_is_refused(self):
        self.assertIn("PATH", self.inspect(code=64).stderr)
        self.inspect("a", "b", code=64)
        self.assertIn("none", self.inspect(self.directory / "none", code=66).stderr)
        (self.directory / "stray").mkdir()
        for arguments in ((), ("--json",), ("--out", self.directory / "page")):
            result = self.inspect(self.directory, *arguments, code=66)
            self.assertIn("is no data set (train-images-idx3-ubyte and so on), no checkpoint (MANIFEST.json) and no "
                          "run (config.ini, metrics.jsonl)", result.stderr)
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
