"""lockstep predict: pictures of every kind, data sets, several ranks, and what cannot be read."""

import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import unittest
import zlib
from pathlib import Path

from harness import (PROGRAM, SOURCE, ProgramTest, command, idx_bytes, main, read_idx, run, train, write_csv,
                     write_small_mnist)

PICTURES = SOURCE / "data" / "pictures"
SIDE = 28


def png_bytes(width, height, colour, rows):
    """A PNG of 8 bits; colour: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA; rows: bytes each."""
    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    content = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)) +
            chunk(b"IDAT", content) + chunk(b"IEND", b""))


def enlarged(pixels, side):
    """The rows of a 28x28 image, each pixel repeated."""
    columns = [x * SIDE // side for x in range(side)]
    rows = [bytes(pixels[SIDE * y + x] for x in columns) for y in range(SIDE)]
    return [rows[y * SIDE // side] for y in range(side)]


def smoothed(pixels, side):
    """The same, by bilinear interpolation."""
    places = []
    for i in range(side):
        at = min(max((i + 0.5) * SIDE / side - 0.5, 0), SIDE - 1.001)
        places.append((int(at), at - int(at)))
    rows = []
    for y, b in places:
        upper, lower = pixels[SIDE * y:SIDE * (y + 1)], pixels[SIDE * (y + 1):SIDE * (y + 2)]
        line = [u + b * (v - u) for u, v in zip(upper, lower)]
        rows.append(bytes(int(line[x] + a * (line[x + 1] - line[x])) for x, a in places))
    return rows


def recoloured(rows, table, entry=1):
    """Each grey value replaced by `entry` bytes of a table of 256."""
    if entry == 1:
        return [row.translate(table) for row in rows]
    return [b"".join(table[entry * v:entry * (v + 1)] for v in row) for row in rows]


def ramp(ground, stroke):
    return b"".join(bytes(round(g + v * (s - g) / 255) for g, s in zip(ground, stroke)) for v in range(256))


INVERTED = bytes(255 - v for v in range(256))


def picture(side, colour=0, table=None, entry=1):
    """A function that makes a PNG of a 28x28 image."""
    def make(pixels):
        rows = enlarged(pixels, side)
        return png_bytes(side, side, colour, recoloured(rows, table, entry) if table else rows)
    return make


FORMS = {
    "28": picture(28),
    "56": picture(56),
    "200": picture(200),
    "28-inverted": picture(28, 0, INVERTED),
    "56-inverted-rgb": picture(56, 2, ramp((255, 255, 255), (0, 0, 0)), 3),
    "200-inverted": picture(200, 0, INVERTED),
    "28-blue-on-white": picture(28, 2, ramp((255, 255, 255), (20, 30, 160)), 3),
    "56-yellow-on-blue": picture(56, 2, ramp((20, 30, 120), (250, 240, 40)), 3),
    "200-red-on-green": picture(200, 2, ramp((60, 160, 70), (200, 40, 40)), 3),
    "56-black-on-nothing": picture(56, 4, ramp((0, 0), (0, 255)), 2),
    "28-white-on-nothing": picture(28, 6, ramp((255, 255, 255, 0), (255, 255, 255, 255)), 4),
}


def with_state(checkpoint, to, **changes):
    """A copy of a checkpoint with another state.json (None: without that key), whole by its manifest."""
    shutil.copytree(checkpoint, to)
    state = json.loads((to / "state.json").read_text())
    state.update(changes)
    state = {key: value for key, value in state.items() if value is not None}
    content = json.dumps(state).encode()
    (to / "state.json").write_bytes(content)
    manifest = json.loads((to / "MANIFEST.json").read_text().splitlines()[0])
    for entry in manifest["files"]:
        if entry["name"] == "state.json":
            entry.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    line = json.dumps(manifest, separators=(",", ":"), sort_keys=True) + "\n"
    (to / "MANIFEST.json").write_text(line + hashlib.sha256(line.encode()).hexdigest() + "\n")
    return to


def predictions(result):
    return json.loads(result.stdout)["images"]


class PredictTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        """A checkpoint of a small network on all of MNIST: two epochs, as configs/smoke.ini says; or
        that of the run directory LOCKSTEP_PREDICT_RUN."""
        cls.pixels = read_idx("t10k-images-idx3-ubyte")[1]
        cls.labels = read_idx("t10k-labels-idx1-ubyte")[1]
        scratch = Path(tempfile.mkdtemp(prefix="lockstep-test-"))
        cls.addClassCleanup(shutil.rmtree, scratch, ignore_errors=True)
        cls.shared = Path(os.environ.get("LOCKSTEP_PREDICT_RUN", scratch / "run"))
        if not cls.shared.exists():
            result = train(2, cls.shared, "--config", SOURCE / "configs" / "smoke.ini", timeout=400)
            assert result.returncode == 0, result.stderr

    def best(self):
        return self.shared / "checkpoints" / (self.shared / "checkpoints" / "BEST").read_text().strip()

    def image(self, n):
        return self.pixels[SIDE * SIDE * n:SIDE * SIDE * (n + 1)]

    def png(self, name, n=0, form="56"):
        path = self.directory / name
        path.write_bytes(FORMS[form](self.image(n)))
        return path

    def predict(self, *arguments, ranks=1, code=0, checkpoint=None, **options):
        return self.expect(run(ranks, "predict", "--checkpoint", checkpoint or self.shared, *arguments,
                               "--threads", 1, **options), code)

    def test_pictures_of_every_kind_are_recognised(self):
        count = int(os.environ.get("LOCKSTEP_PREDICT_IMAGES", 400))
        forms = dict(FORMS)
        forms["200-smooth"] = lambda p: png_bytes(200, 200, 0, smoothed(p, 200))
        for name, form in forms.items():
            images = count if name != "200-smooth" else count // 4
            folder = self.directory / name
            folder.mkdir()
            for n in range(images):
                (folder / f"{n:05}.png").write_bytes(form(self.image(n)))
            found = predictions(self.predict("--json", folder, ranks=2))
            self.assertEqual([Path(image["input"]).name for image in found],
                             [f"{n:05}.png" for n in range(images)])
            right = sum(image["label"] == self.labels[n] for n, image in enumerate(found))
            print(f"{name}: {right} of {images}")
            with self.subTest(name):
                self.assertGreaterEqual(right / images, 0.98)

    def test_jpeg(self):
        files = sorted(PICTURES.glob("*.jpg"))
        self.assertEqual(len(files), 5)
        for image in predictions(self.predict("--json", *files)):
            self.assertEqual(str(image["label"]), Path(image["input"]).stem[-1], image)
            self.assertGreater(image["probability"], 0.9, image)

    def test_output_is_the_same_at_any_number_of_ranks(self):
        csv = write_csv(self.directory / "many.csv", self.pixels[:784 * 60], self.labels[:60])
        files = [self.png(f"{n}.png", n, list(FORMS)[n % len(FORMS)]) for n in range(25)]
        files[7].write_bytes(b"\x89PNG damaged")
        inputs = [*files[:10], csv, *files[10:], self.directory / "none.png"]
        for arguments in ([], ["--augment-copies", 3, "--seed", 5, "--checkpoint", self.shared]):
            # Chunks of 4: batches are cut alike whatever the ranks.
            results = [self.predict("--json", "--evaluation-batch", 4, *arguments, *inputs, ranks=ranks,
                                    code=65) for ranks in (1, 2, 4)]
            self.assertEqual(len({result.stdout for result in results}), 1)
            # mpirun adds lines of its own.
            errors = [[line for line in result.stderr.splitlines() if "error: " in line] for result in results]
            self.assertEqual(errors, [errors[0]] * 3)
            self.assertEqual([line.split(": ")[1] for line in errors[0]], [str(files[7]), str(inputs[-1])])
            self.assertEqual(len(predictions(results[0])), 24 + 60)
        alone = self.predict("--json", "--evaluation-batch", 4, *inputs, code=65)
        # An ensemble of one checkpoint with itself is that checkpoint.
        twice = self.predict("--json", "--evaluation-batch", 4, "--checkpoint", self.shared, *inputs, code=65)
        self.assertEqual(alone.stdout, twice.stdout)

    def test_order_positions_and_bad_files(self):
        bad = self.directory / "bad.png"
        bad.write_bytes(FORMS["28"](self.image(0))[:-20])
        text = self.directory / "text.png"
        text.write_text("this is no picture\n")
        csv = write_csv(self.directory / "two.csv", self.pixels[784:3 * 784], self.labels[1:3])
        inputs = [self.png("b.png", 3), bad, csv, text, self.png("a.png", 4)]
        result = self.predict("--csv", *inputs, code=65, ranks=2)
        expected = [(1, 3), (3, 1), (4, 2), (6, 4)]  # bad files keep their places
        self.assertEqual(result.stdout, "ImageId,Label\n" + "".join(
            f"{place},{self.labels[n]}\n" for place, n in expected))
        self.assertEqual(result.stderr.count("error: "), 2, result.stderr)
        failed = json.loads(self.predict("--json", *inputs, code=65, ranks=2).stdout)["failed"]
        self.assertEqual([(entry["image"], entry["input"]) for entry in failed], [(2, str(bad)), (5, str(text))])
        for entry in failed:
            self.assertIn(f"error: {entry['problem']}\n", result.stderr)
        self.assertIn(str(bad), result.stderr)
        self.assertIn(str(text), result.stderr)
        missing = self.directory / "missing.png"
        result = self.predict("--csv", inputs[0], missing, inputs[4], code=66, ranks=2)
        self.assertEqual(result.stdout, f"ImageId,Label\n1,{self.labels[3]}\n3,{self.labels[4]}\n")
        self.assertIn(str(missing), result.stderr)
        result = self.predict(missing, code=66)
        self.assertEqual(result.stdout, "")
        broken = self.directory / "broken.csv"
        broken.write_text(csv.read_text().replace(",0,", ",256,", 1))
        result = self.predict("--csv", broken, inputs[0], code=65, ranks=2)
        self.assertIn("broken.csv: line 2", result.stderr)
        self.assertEqual(result.stdout, f"ImageId,Label\n2,{self.labels[3]}\n")

    def test_a_directory_names_what_looks_like_a_picture_and_is_none(self):
        folder = self.directory / "folder"
        folder.mkdir()
        for name, n in (("b.png", 3), ("d.PNG", 4), ("without-suffix", 2)):
            (folder / name).write_bytes(FORMS["28"](self.image(n)))
        (folder / "a.jpg").touch()
        (folder / "c.gif").write_bytes(b"GIF89a" + bytes(50))
        (folder / "e.png").symlink_to("nothing")
        for name in ("._b.png", "Thumbs.db", "notes.txt"):  # what lies beside pictures
            (folder / name).write_text("no picture\n")
        result = self.predict("--csv", folder, code=65, ranks=2)
        self.assertEqual(result.stdout, "ImageId,Label\n" + "".join(
            f"{place},{self.labels[n]}\n" for place, n in ((2, 3), (4, 4), (6, 2))))
        for name, problem in (("a.jpg", "is empty"), ("c.gif", "starts with 'GIF89a"),
                              ("e.png", "cannot be opened")):
            self.assertIn(f"error: {folder / name}: {problem}", result.stderr)
        self.assertEqual(result.stderr.count("error: "), 3, result.stderr)
        for name in ("a.jpg", "c.gif"):
            self.assertIn("expected a PNG or JPEG picture" if name == "c.gif" else "is empty",
                          self.predict(folder / name, code=65).stderr)

    def test_labels_give_the_accuracy_that_evaluate_gives(self):
        data = write_small_mnist(self.directory / "data", training=10, test=500)
        (data / "samples.gif").touch()  # beside a data set it is no picture
        evaluated = json.loads(self.expect(run(1, "evaluate", "--checkpoint", self.shared, "--data", data,
                                               "--threads", 1, "--json"), 0).stdout)
        found = json.loads(self.predict("--json", data, ranks=2).stdout)
        self.assertEqual(found["accuracy"], evaluated["accuracy"])
        self.assertEqual(found["labelled"], 500)
        self.assertEqual([image["true"] for image in found["images"]], list(self.labels[:500]))
        csv = write_csv(self.directory / "test.csv", self.pixels[:784 * 500], self.labels[:500])
        table = self.predict(csv).stdout.splitlines()
        self.assertIn(f"accuracy {100 * evaluated['accuracy']:.2f} % (", table[-1])
        self.assertRegex(table[1], r"^ +1 +7 +7 +\d+\.\d\d %  .*test\.csv \[1\]$")
        # The same images without labels: the same numbers, and no accuracy.
        plain = data / "t10k-images-idx3-ubyte"
        unlabelled = json.loads(self.predict("--json", plain).stdout)
        self.assertNotIn("accuracy", unlabelled)
        self.assertEqual([i["probability"] for i in unlabelled["images"]],
                         [i["probability"] for i in found["images"]])

    def test_standard_input(self):
        csv = write_csv(self.directory / "x.csv", self.pixels[:784 * 3], self.labels[:3]).read_bytes()
        idx = idx_bytes((3, SIDE, SIDE), self.pixels[:784 * 3])
        for content, count in ((csv, 3), (idx, 3), (FORMS["56"](self.image(0)), 1)):
            result = self.from_standard_input(content, "--csv", "-")
            self.assertEqual(result.stdout.decode(), "ImageId,Label\n" + "".join(
                f"{n + 1},{self.labels[n]}\n" for n in range(count)))
        result = self.from_standard_input(csv[:-100], "--csv", self.png("a.png", 3), "-", code=65)
        self.assertEqual(result.stdout.decode(), f"ImageId,Label\n1,{self.labels[3]}\n")
        self.assertIn(b"standard input: line 4", result.stderr)
        self.from_standard_input(b"", "-", code=65)

    def from_standard_input(self, content, *arguments, code=0):
        words = command(2, "predict", "--checkpoint", self.shared, "--threads", 1, *arguments)
        result = subprocess.run(words, input=content, capture_output=True, timeout=60,
                                env={**os.environ, "LOCKSTEP_TEST_GRACE": "0"})
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def test_json_and_top(self):
        image = json.loads(self.predict("--json", "--top", 3, self.png("a.png", 0)).stdout)["images"][0]
        self.assertEqual([set(entry) for entry in image["top"]], [{"label", "probability"}] * 3)
        self.assertEqual(image["top"][0], {"label": image["label"], "probability": image["probability"]})
        likelihoods = [entry["probability"] for entry in image["top"]]
        self.assertEqual(likelihoods, sorted(likelihoods, reverse=True))
        image = json.loads(self.predict("--json", "--top", 10, self.directory / "a.png").stdout)["images"][0]
        self.assertAlmostEqual(sum(entry["probability"] for entry in image["top"]), 1, delta=1e-12)
        line = self.predict("--top", 2, self.directory / "a.png").stdout.splitlines()[1]
        self.assertRegex(line, r"^ +1 +7 +\d+\.\d\d % +\d +\d+\.\d\d %  .*a\.png$")

    def test_averages_of_checkpoints_and_copies(self):
        data = write_small_mnist(self.directory / "data")
        other = self.directory / "other"
        self.expect(train(2, other, "--data", data, "--model", "mlp", "--batch-size", 100, "--epochs", 1), 0)
        pictures = [self.png(f"{n}.png", n) for n in range(5)]
        arguments = ["--json", "--top", 10, *pictures]

        def table(result):
            return [{entry["label"]: entry["probability"] for entry in image["top"]}
                    for image in predictions(result)]
        one, two = (table(self.predict(*arguments, checkpoint=c)) for c in (self.shared, other))
        both = table(self.predict("--checkpoint", other, *arguments))
        for a, b, mean in zip(one, two, both):
            for label in range(10):
                self.assertAlmostEqual((a[label] + b[label]) / 2, mean[label], delta=1e-12)
        copies = table(self.predict("--augment-copies", 4, *arguments))
        self.assertNotEqual(copies, one)
        self.assertNotEqual(copies, table(self.predict("--augment-copies", 4, "--seed", 2, *arguments)))
        for a, mean in zip(one, copies):
            self.assertEqual(max(a, key=a.get), max(mean, key=mean.get))
        still = ["--rotation", 0, "--zoom", 0, "--shift-x", 0, "--shift-y", 0]
        for a, mean in zip(one, table(self.predict("--augment-copies", 4, *still, *arguments))):
            for label in range(10):
                self.assertAlmostEqual(a[label], mean[label], delta=1e-12)

    def test_inversion_and_preprocessing_can_be_said(self):
        light, dark = self.png("light.png", 0, "28"), self.png("dark.png", 0, "28-inverted")

        def probability(*arguments):
            image = predictions(self.predict("--json", "--top", 10, *arguments))[0]
            return next(entry["probability"] for entry in image["top"] if entry["label"] == 7)
        right = probability(light)
        self.assertGreater(right, 0.9)
        for arguments in ((dark,), ("--invert", "yes", dark), ("--invert", "no", light),
                          ("--preprocess", "resize", light),
                          ("--preprocess", "resize", "--invert", "yes", dark)):
            self.assertAlmostEqual(probability(*arguments), right, delta=1e-3)
        for arguments in (("--invert", "no", dark), ("--invert", "yes", light), ("--preprocess", "resize", dark)):
            self.assertNotAlmostEqual(probability(*arguments), right, delta=1e-3)
        # Data sets that fit are left as they are, and others made to fit.
        csv = write_csv(self.directory / "x.csv", bytes(255 - v for v in self.image(0)), self.labels[:1])
        self.assertNotAlmostEqual(probability(csv), right, delta=1e-3)
        self.assertAlmostEqual(probability("--invert", "yes", csv), right, delta=1e-3)
        large = write_csv(self.directory / "y.csv", b"".join(enlarged(self.image(0), 56)), self.labels[:1])
        self.assertAlmostEqual(probability(large), right, delta=1e-3)

    def test_a_network_for_colours(self):
        data = self.directory / "colour"
        data.mkdir()
        pixels = read_idx("train-images-idx3-ubyte")[1][:600 * 784]
        labels = read_idx("train-labels-idx1-ubyte")[1][:600]
        planes = b"".join(pixels[i * 784:(i + 1) * 784] * 3 for i in range(600))
        (data / "train-images-idx3-ubyte").write_bytes(idx_bytes((600, 3, SIDE, SIDE), planes))
        (data / "train-labels-idx1-ubyte").write_bytes(idx_bytes((600,), labels))
        out = self.directory / "out"
        self.expect(train(1, out, "--data", data, "--model", "mlp", "--batch-size", 50, "--epochs", 1), 0)
        file = self.png("a.png", 0, "200-red-on-green")
        for arguments in ([], ["--preprocess", "digit"], ["--invert", "yes"]):
            self.predict(*arguments, file, checkpoint=out)
        self.predict(data / "train-images-idx3-ubyte", checkpoint=out)
        result = self.predict("--checkpoint", out, file, code=78)
        self.assertIn("3x28x28", result.stderr)

    def test_what_is_refused(self):
        file = self.png("a.png")
        for arguments, expect in (
                (["--json", "--csv"], "exclude"), (["--csv", "--top", 2], "--top"), (["--top", 11], "--top"),
                (["--top", "x"], "--top"), (["--preprocess", "crop"], "digit, resize"),
                (["--invert", "maybe"], "auto, yes, no"), (["--augment-copies", -1], "augment-copies"),
                (["--epochs", 3], "--epochs"), (["--checkpont", "x"], "--checkpoint"), (["-", "-"], "once")):
            with self.subTest(arguments=arguments):
                result = self.predict(*arguments, file, code=64, ranks=2)
                self.assertIn(expect, result.stderr)
                self.assertEqual(result.stderr.count("error: "), 1, result.stderr)
                self.assertEqual(result.stdout, "")
        self.assertIn("INPUT", self.predict(code=64).stderr)
        self.assertIn("--checkpoint", self.expect(run(1, "predict", file), 64).stderr)
        self.predict(file, checkpoint=self.directory / "none", code=66)
        damaged = self.directory / "damaged"
        shutil.copytree(self.best(), damaged)
        model = damaged / "model.safetensors"
        content = bytearray(model.read_bytes())
        content[-1] ^= 1
        model.write_bytes(content)
        self.assertIn("model.safetensors", self.predict(file, checkpoint=damaged, code=65).stderr)
        empty = self.directory / "empty"
        empty.mkdir()
        self.assertRegex(self.predict(empty, code=66).stderr, f"{empty}: .*no PNG or JPEG picture is there")

    def test_checkpoints_that_say_what_they_are_not(self):
        file = self.png("a.png")
        state = json.loads((self.best() / "state.json").read_text())
        settings = state["settings"]
        for number, (changes, expect) in enumerate((
                ({"image_shape": [1, 1 << 14, 1 << 14]}, "takes more than"),
                ({"image_shape": [1 << 20, 16, 16]}, "takes more than"),
                ({"image_shape": [1, 56, 56]}, "tensor"),
                ({"image_shape": [1, 28, 0]}, "image_shape"),
                ({"settings": {**settings, "model": "unheard"}}, "unheard"),
                ({"settings": {**settings, "model": "mlp"}}, "tensor"))):
            with self.subTest(changes):
                checkpoint = with_state(self.best(), self.directory / f"checkpoint-{number}", **changes)
                result = self.predict(file, checkpoint=checkpoint, code=65)
                self.assertIn(expect, result.stderr)
                self.assertIn(str(checkpoint), result.stderr)
        # One from before they said it.
        old = with_state(self.best(), self.directory / "old", image_shape=None)
        self.assertEqual(self.predict(file, checkpoint=old).stdout, self.predict(file).stdout)

    def test_damaged_pictures_do_no_harm(self):
        rng = random.Random(1)
        files = []
        for n in range(120):
            content = bytearray(FORMS[list(FORMS)[n % len(FORMS)]](self.image(n)) if n % 2 else
                                (PICTURES / "light-7.jpg").read_bytes())
            for _ in range(rng.randint(1, 4)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            path = self.directory / f"{n}.png"
            path.write_bytes(content[:rng.randrange(len(content))] if n % 3 == 0 else content)
            files.append(path)
        result = self.predict("--csv", *files, self.png("good.png", 0), ranks=2, code=65)
        self.assertEqual(result.stdout.splitlines()[-1], f"{len(files) + 1},{self.labels[0]}")
        refused = [path for path in files if f"{path}: " in result.stderr]
        self.assertEqual(len(refused) + len(result.stdout.splitlines()) - 2, len(files))

    def test_streams_that_are_closed(self):
        """No file that is opened later takes their place, and nothing is waited for."""
        picture = self.png("a.png")
        for streams, inputs, code, expect in (
                ("<&-", "-", 74, "standard input: cannot be read"), (">&-", picture, 74, "standard output"),
                ("<&- >&- 2>&-", picture, 74, ""), ("2>&-", picture, 0, ""), ("<&-", picture, 0, "")):
            with self.subTest(streams=streams, inputs=inputs):
                words = f'exec "$0" predict --checkpoint "$1" "$2" {streams}'
                result = subprocess.run(["bash", "-c", words, PROGRAM, self.shared, inputs], capture_output=True,
                                        text=True, timeout=60)
                self.expect(result, code)
                self.assertIn(expect, result.stderr)
        reader = subprocess.run(["bash", "-c", '"$0" predict --checkpoint "$1" "$2" | true; exit "${PIPESTATUS[0]}"',
                                 PROGRAM, self.shared, SOURCE / "data" / "mnist"], capture_output=True, text=True,
                                timeout=120)
        self.expect(reader, 74)
        self.assertIn("standard output: cannot be written: Broken pipe", reader.stderr)

    def test_standard_output_that_is_full(self):
        # Without mpirun, which would take the output whatever becomes of it.
        with open("/dev/full", "wb") as full:
            result = subprocess.run([PROGRAM, "predict", "--checkpoint", self.shared, self.png("a.png")],
                                    stdout=full, stderr=subprocess.PIPE, timeout=60)
            for words in (["--help"], ["predict", "--help"], ["--version"], ["--man"]):
                told = subprocess.run([PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, timeout=60)
                self.assertEqual(told.returncode, 74, words)
        self.assertEqual(result.returncode, 74, result.stderr)
        self.assertIn(b"standard output: cannot be written: No space left on device", result.stderr)


if __name__ == "__main__":
    main()
