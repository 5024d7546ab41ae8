"""Wrong settings and damaged input: a clear message, the documented code, nothing written."""

import gzip
import os
import subprocess
import time

from harness import (MPIRUN, PROGRAM, ProgramTest, idx_bytes, main, read_idx, run, train, write_csv,
                     write_small_mnist)

QUICK = ["--model", "mlp", "--max-steps", 1]


class RefusalsTest(ProgramTest):
    def refuse(self, code, *arguments, expect, ranks=2):
        """Refused with `code` within 10 s, once, with all texts of `expect`, leaving no --out."""
        out = self.directory / "out"
        begin = time.monotonic()
        result = self.expect(train(ranks, out, *arguments), code)
        self.assertLess(time.monotonic() - begin, 10)
        for text in [expect] if isinstance(expect, str) else expect:
            self.assertIn(text, result.stderr)
        self.assertEqual(result.stderr.count("error: "), 1, result.stderr)
        self.assertFalse(out.exists(), "something was written")

    def test_settings(self):
        for arguments, expect in (
                (["--epoch", 3], "did you mean --epochs?"),
                (["--epochs", "three"], "--epochs"),
                (["--epochs", 0], "--epochs"),
                (["--epochs"], "--epochs"),
                (["--batch-size", 8, "--batch-size-per-rank", 4], "--batch-size"),
                (["--model", "digit-cnn"], "digits-cnn"),
                (["--learning-rate", "nan"], "--learning-rate"),
                (["--nesterov"], "momentum"),
                (["--virtual-ranks", 3], "virtual-ranks"),
                (["--reduce-dtype", "float8"], "--reduce-dtype"),
                (["--optimizer", "adm"], "adamw"),
                (["stray"], "stray"),
                (["--epochs", 0, "--momentum", 2], ["--epochs", "--momentum"]),
        ):
            with self.subTest(arguments=arguments):
                self.refuse(64, *arguments, expect=expect)

    def test_settings_that_do_not_fit_the_machine(self):
        self.refuse(64, *QUICK, "--virtual-ranks", 1, expect="--virtual-ranks")
        self.refuse(64, *QUICK, "--device", "cuda", expect="--device cuda", ranks=1)
        self.refuse(64, *QUICK, "--backend", "nccl", expect="nccl", ranks=1)

    def test_a_batch_whose_samples_cannot_be_counted(self):
        self.refuse(64, *QUICK, "--batch-size", 2**24 + 1, expect="a global batch of 16777217: at most 16777216", ranks=1)

    def test_settings_file(self):
        missing = self.directory / "missing.ini"
        self.refuse(66, "--config", missing, expect="missing.ini")
        bad = self.directory / "bad.ini"
        bad.write_text("epochs = 3\nbatchsize = 4\n")
        self.refuse(64, "--config", bad, expect=["bad.ini", "batch-size"])

    def test_data_that_is_missing_or_of_another_kind(self):
        self.refuse(66, *QUICK, "--data", self.directory / "nothing", expect="nothing")
        (self.directory / "empty").mkdir()
        self.refuse(66, *QUICK, "--data", self.directory / "empty", expect="empty")
        half = write_small_mnist(self.directory / "half")
        (half / "train-labels-idx1-ubyte").unlink()
        self.refuse(66, *QUICK, "--data", half, expect="train-labels")
        picture = self.directory / "picture.png"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        self.refuse(65, *QUICK, "--data", picture, expect="picture.png")
        self.refuse(66, *QUICK, "--test-data", self.directory / "nowhere", expect="nowhere")

    def test_damaged_idx(self):
        (count, height, width), pixels = (600, 28, 28), read_idx("train-images-idx3-ubyte")[1]
        pixels = pixels[:count * height * width]
        labels = read_idx("train-labels-idx1-ubyte")[1][:count]
        images, good_labels = idx_bytes((count, height, width), pixels), idx_bytes((count,), labels)
        packed = gzip.compress(images)
        flipped = bytearray(packed)
        flipped[len(flipped) // 2] ^= 4
        for name, image_file, label_file in (
                ("truncated", images[:-1], good_labels),
                ("trailing", images + b"x", good_labels),
                ("magic", b"\0\0\x0c\x03" + images[4:], good_labels),
                ("count", images, idx_bytes((count - 1,), labels[:-1])),
                ("label", images, idx_bytes((count,), labels[:-1] + b"\x0a")),
                ("gzip", bytes(flipped), good_labels),
                ("gzip-cut", packed[:-5], good_labels),
                ("nothing", b"", good_labels),
        ):
            with self.subTest(name):
                data = self.directory / name
                data.mkdir()
                (data / "train-images-idx3-ubyte").write_bytes(image_file)
                (data / "train-labels-idx1-ubyte").write_bytes(label_file)
                self.refuse(65, *QUICK, "--data", data, expect=name)

    def test_damaged_csv(self):
        _, pixels = read_idx("train-images-idx3-ubyte")
        _, labels = read_idx("train-labels-idx1-ubyte")
        good = write_csv(self.directory / "good.csv", pixels[:784 * 40], labels[:40]).read_text()
        lines = good.splitlines(keepends=True)
        for name, text, expect in (
                ("pixel", good.replace(",0,", ",256,", 1), "256"),
                ("cell", good.replace(",0,", ",,", 1), "line 2"),
                ("nan", good.replace(",0,", ",NaN,", 1), "NaN"),
                ("ragged", "".join(lines[:5]) + lines[5].rsplit(",", 1)[0] + "\n", "line 6"),
                ("header", good + lines[0], "line 42"),
                ("label", "".join(lines[:3]) + "10" + lines[3][1:], "line 4"),
                ("empty", "", "empty"),
                ("only-header", lines[0], "only-header"),
        ):
            with self.subTest(name):
                path = self.directory / f"{name}.csv"
                path.write_text(text)
                self.refuse(65, *QUICK, "--data", path, expect=[f"{name}.csv", expect])

    def start_differently(self, one, two):
        """Two ranks of one job, each with a working directory and arguments of its own."""
        out = self.directory / "out"
        words = [str(MPIRUN)]
        for directory, arguments in (one, two):
            words += ([":"] if len(words) > 1 else []) + [
                "-n", "1", "-wdir", str(directory), str(PROGRAM), "train", "--out", str(out),
                "--threads", "1", *map(str, (*QUICK, *arguments))]
        result = subprocess.run(words, capture_output=True, text=True, timeout=60,
                                env={**os.environ, "LOCKSTEP_TEST_GRACE": "0"})
        self.assertFalse(out.exists(), "something was written")
        return result

    def test_ranks_with_other_data(self):
        one, two = self.directory / "one", self.directory / "two"
        write_small_mnist(one / "data")
        write_small_mnist(two / "data")
        labels = two / "data" / "train-labels-idx1-ubyte"
        content = bytearray(labels.read_bytes())
        content[-1] = (content[-1] + 1) % 10
        labels.write_bytes(content)
        result = self.start_differently((one, ["--data", "data"]), (two, ["--data", "data"]))
        self.expect(result, 65)
        self.assertRegex(result.stderr, "rank 1 .*had other training data than rank 0")

    def test_ranks_with_other_settings(self):
        data = write_small_mnist(self.directory / "data")
        result = self.start_differently((data, ["--data", data, "--seed", 1]),
                                        (data, ["--data", data, "--seed", 2]))
        self.expect(result, 64)
        self.assertRegex(result.stderr, r"rank 1 .*had other settings than rank 0 \(.*\), 'seed = 2' in place of 'seed = 1': ")

    def test_a_run_directory_in_use_is_never_overwritten(self):
        data = write_small_mnist(self.directory / "data")
        out = self.directory / "run"
        self.expect(train(1, out, *QUICK, "--data", data), 75)
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        result = self.expect(train(1, out, *QUICK, "--data", data), 73)
        self.assertIn("run", result.stderr)
        self.assertEqual(before, {p: p.read_bytes() for p in out.rglob("*") if p.is_file()})
        occupied = self.directory / "file"
        occupied.write_text("x")
        self.expect(train(1, occupied, *QUICK, "--data", data), 73)

    def test_resume_with_other_settings(self):
        data = write_small_mnist(self.directory / "data")
        out = self.directory / "run"
        self.expect(train(1, out, *QUICK, "--data", data), 75)
        result = self.expect(train(1, out, "--model", "mlp", "--data", data, "--resume", "auto",
                                   "--batch-size", 50, "--seed", 9, "--clip-norm", 2, "--accumulate", 3,
                                   "--reduce-dtype", "float16"), 78)
        for text in ("batch-size", "seed", "86", "50", "clip-norm: the checkpoint has '0', this start '2'",
                     "accumulate: the checkpoint has '1', this start '3'",
                     "reduce-dtype: the checkpoint has 'float32', this start 'float16'"):
            self.assertIn(text, result.stderr)
        other = write_small_mnist(self.directory / "other", training=2999)
        self.expect(train(1, out, "--model", "mlp", "--data", other, "--resume", "auto"), 78)

    def test_damaged_checkpoints(self):
        data = write_small_mnist(self.directory / "data")
        out = self.directory / "run"
        settings = ["--model", "mlp", "--data", data, "--checkpoint-every-steps", 2]
        self.expect(train(1, out, *settings, "--max-steps", 5), 75)
        newest = out / "checkpoints" / "step-00000005"
        model = newest / "model.safetensors"
        content = bytearray(model.read_bytes())
        content[-1] ^= 1
        model.write_bytes(content)
        evaluated = self.expect(run(2, "evaluate", "--checkpoint", newest, "--data", data), 65)
        self.assertIn("model.safetensors", evaluated.stderr)
        self.expect(train(1, self.directory / "x", *settings, "--resume", newest), 65)
        result = self.expect(train(1, out, *settings, "--max-steps", 6, "--resume", "auto"), 75)
        self.assertIn("step-00000005", result.stderr)
        self.assertIn("resumed after epoch 0, step 4", result.stderr)
        for directory in (out / "checkpoints").glob("step-????????"):
            (directory / "state.json").write_text("{}")
        self.expect(train(1, out, *settings, "--max-steps", 9, "--resume", "auto"), 65)

    def test_a_name_that_is_not_utf8(self):
        """No record could hold it; refused before anything is made."""
        name = os.fsdecode(b"caf\xe9")
        out = self.directory / "out"
        for arguments in (["--data", name], ["--resume", name], ["--config", name]):
            result = self.expect(train(1, out, *arguments), 64)
            self.assertIn(f"{arguments[0]}=caf?: is not UTF-8: byte 4", result.stderr)
        self.assertFalse(out.exists())
        self.expect(train(1, self.directory / name), 64)
        result = self.expect(run(1, "evaluate", "--checkpoint", name), 64)
        self.assertIn("--checkpoint=caf?: is not UTF-8", result.stderr)

    def test_a_loop_of_links(self):
        loop = self.directory / "loop"
        loop.symlink_to(loop.name)
        data = write_small_mnist(self.directory / "data")
        results = (run(1, "evaluate", "--checkpoint", loop),
                   train(1, self.directory / "out", *QUICK, "--data", data, "--resume", loop))
        for result in results:
            self.expect(result, 66)
            self.assertIn("Too many levels of symbolic links", result.stderr)

    def test_commands(self):
        self.expect(run(1, "trian"), 64)
        self.expect(run(1, "evaluate"), 64)
        self.expect(run(1, "evaluate", "--checkpoint", self.directory / "none"), 66)
        self.expect(run(2, "--help"), 0)
        self.expect(run(2, "train", "--help"), 0)
        self.expect(run(1, "--version"), 0)


if __name__ == "__main__":
    main()
