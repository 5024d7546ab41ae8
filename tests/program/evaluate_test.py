"""Training on other data and formats, and what evaluate says of the result."""

import json
import math
import unittest

from harness import (FASHION, ProgramTest, checkpoints, idx_bytes, main, read_idx, read_safetensors, records,
                     run, train, weights, write_csv, write_small_mnist)


def dense(inputs, tensors, name, relu):
    (rows, columns), weight = tensors[f"{name}.weight"]
    _, bias = tensors[f"{name}.bias"]
    outputs = []
    for row in range(rows):
        value = bias[row] + math.fsum(w * x for w, x in
                                      zip(weight[row * columns:(row + 1) * columns], inputs))
        outputs.append(max(0.0, value) if relu else value)
    return outputs


class EvaluateTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.data = write_small_mnist(self.directory / "data")
        self.settings = ["--data", self.data, "--model", "mlp", "--batch-size", 100]

    def test_logits_are_those_of_the_stored_weights(self):
        out, file = self.directory / "out", self.directory / "logits.safetensors"
        self.expect(train(2, out, *self.settings, "--epochs", 1), 0)
        checkpoint = out / "checkpoints" / checkpoints(out)[-1]
        self.expect(run(2, "evaluate", "--checkpoint", checkpoint, "--data", self.data,
                        "--logits", file), 0)
        shape, logits = read_safetensors(file)["logits"]
        self.assertEqual(shape, [500, 10])
        tensors = read_safetensors(checkpoint / "model.safetensors")
        pixels = read_idx("t10k-images-idx3-ubyte")[1]
        for sample in range(0, 500, 25):
            hidden = [p / 255 for p in pixels[sample * 784:(sample + 1) * 784]]
            for name, relu in (("dense1", True), ("dense2", True), ("dense3", False)):
                hidden = dense(hidden, tensors, name, relu)
            for column, value in enumerate(hidden):
                self.assertAlmostEqual(value, logits[sample * 10 + column], delta=1e-4)

    def test_json_agrees_with_metrics_at_any_number_of_ranks(self):
        out = self.directory / "out"
        self.expect(train(2, out, *self.settings, "--epochs", 2, "--ema-decay", "0.9"), 0)
        recorded = {r["kind"]: r for r in records(out / "metrics.jsonl")}
        texts = {}
        for split in ("test", "validation"):
            # MKL cuts products of few rows among threads, and with AVX-512 what is left of them takes other roundings.
            texts[split] = {self.expect(run(ranks, "evaluate", "--checkpoint", out, "--data", self.data,
                                            "--split", split, "--threads", 1, "--json"), 0).stdout
                            for ranks in (1, 2, 4)}
            self.assertEqual(len(texts[split]), 1)
        best = (out / "checkpoints/BEST").read_text().strip()
        result = json.loads(texts["test"].pop())
        self.assertEqual(set(result), {"loss", "accuracy", "per_class", "confusion", "samples"})
        for key in ("loss", "accuracy", "per_class", "confusion", "samples"):
            self.assertEqual(result[key], recorded["test"][key])
        validation = [r for r in records(out / "metrics.jsonl")
                      if r["kind"] == "validation" and r["step"] == int(best.split("-")[1])]
        self.assertEqual(json.loads(texts["validation"].pop())["loss"], validation[0]["loss"])
        everything = json.loads(self.expect(run(1, "evaluate", "--checkpoint", out, "--data",
                                                self.data, "--split", "all", "--json"), 0).stdout)
        self.assertEqual(everything["samples"], 3000)
        table = self.expect(run(1, "evaluate", "--checkpoint", out, "--data", self.data), 0).stdout
        self.assertIn(f"{100 * result['accuracy']:.4f} %", table)

    def test_a_run_and_its_checkpoints_stand_for_the_best(self):
        out, again = self.directory / "out", self.directory / "again"
        self.expect(train(2, out, *self.settings, "--epochs", 2), 0)
        store = out / "checkpoints"
        first, second = (store / name for name in checkpoints(out))
        image = self.data / "t10k-images-idx3-ubyte"

        def results(path):
            """What each command says of a path, without the path's own name."""
            words = (["evaluate", "--data", self.data, "--json", "--checkpoint", path],
                     ["predict", "--json", image, "--checkpoint", path])
            return [self.expect(run(2, *command, "--threads", 1), 0) for command in words]
        expected = {path: [r.stdout for r in results(path)] for path in (first, second)}
        self.assertNotEqual(expected[first], expected[second])
        # Whichever is named, and in whatever form.
        for best, places in ((first, (out, store, f"{store}/")), (second, (store,))):
            (store / "BEST").write_text(best.name + "\n")
            for place in places:
                self.assertEqual([r.stdout for r in results(place)], expected[best])
            shown = json.loads(self.expect(run(1, "inspect", "--json", store), 0).stdout)
            self.assertEqual((shown["kind"], shown["path"]), ("checkpoint", str(best)))
        # Without hints the newest, and where the best is not whole that is said, once.
        (store / "BEST").unlink()
        (store / "LATEST").unlink()
        for result in results(store):
            self.assertNotIn("warning", result.stderr)
        self.assertEqual([r.stdout for r in results(out)], expected[second])
        (store / "BEST").write_text("step-00009999\n")
        for result, wanted in zip(results(store), expected[second]):
            self.assertEqual(result.stdout, wanted)
            self.assertEqual(result.stderr.count("warning: "), 1, result.stderr)
            self.assertIn(f"{store}/BEST: names no whole checkpoint; {second} is taken", result.stderr)
        # Training goes on from the newest good one.
        model = second / "model.safetensors"
        model.write_bytes(model.read_bytes()[:-1])
        result = self.expect(train(2, again, *self.settings, "--epochs", 1, "--resume", store), 0)
        self.assertIn(f"{second}: skipped", result.stderr)
        self.assertEqual(weights(again), weights(out, first.name))
        # What holds none is still none.
        empty = self.directory / "empty"
        empty.mkdir()
        for command in (["evaluate"], ["predict", image]):
            self.expect(run(1, *command, "--checkpoint", empty), 65)
            self.expect(run(1, *command, "--checkpoint", image), 66)
        self.expect(run(1, "inspect", empty), 66)
        self.assertIn("not a data set", self.expect(run(1, "inspect", store, "--stratify", "true"), 64).stderr)

    def test_validation_on_the_root_gives_the_same_bits(self):
        runs = [self.directory / mode for mode in ("sharded", "root")]
        for out in runs:
            self.expect(train(2, out, *self.settings, "--epochs", 2, "--validation", out.name), 0)
        self.assertEqual(weights(runs[0]), weights(runs[1]))
        self.assertEqual(*(records(out / "metrics.jsonl") for out in runs))

    def test_csv_trains_to_the_same_weights(self):
        _, pixels = read_idx("train-images-idx3-ubyte")
        _, labels = read_idx("train-labels-idx1-ubyte")
        csv = write_csv(self.directory / "train.csv", pixels[:3000 * 784], labels[:3000],
                        end="\r\n")
        runs = [self.directory / "idx", self.directory / "csv"]
        for out, data in zip(runs, (self.data, csv)):
            settings = list(self.settings)
            settings[1] = data
            self.expect(train(1, out, *settings, "--epochs", 1, "--test-data", self.data), 0)
        self.assertEqual(weights(runs[0]), weights(runs[1]))

    def test_three_channels(self):
        (_, height, width), pixels = read_idx("train-images-idx3-ubyte")
        _, labels = read_idx("train-labels-idx1-ubyte")
        data = self.directory / "colour"
        data.mkdir()
        image = height * width
        coloured = b"".join(3 * pixels[i * image:(i + 1) * image] for i in range(600))
        (data / "train-images-idx3-ubyte").write_bytes(idx_bytes((600, 3, height, width), coloured))
        (data / "train-labels-idx1-ubyte").write_bytes(idx_bytes((600,), labels[:600]))
        for model in ("batchnorm-cnn", "digits-cnn", "lenet", "mlp", "small-cnn"):
            self.expect(train(2, self.directory / model, "--data", data, "--model", model,
                              "--max-steps", 2), 75)

    @unittest.skipUnless(FASHION.exists(), "Debian's dataset-fashion-mnist is not installed")
    def test_fashion_mnist(self):
        out = self.directory / "out"
        self.expect(train(2, out, "--data", FASHION, "--model", "mlp", "--batch-size", 500,
                          "--epochs", 1), 0)
        test = [r for r in records(out / "metrics.jsonl") if r["kind"] == "test"]
        self.assertGreater(test[0]["accuracy"], 0.7)

    def test_a_run_with_a_batch_per_rank(self):
        out = self.directory / "out"
        self.expect(train(2, out, *self.settings[:-2], "--batch-size-per-rank", 50,
                          "--evaluation-batch", 7, "--epochs", 1), 0)
        result = json.loads(self.expect(run(1, "evaluate", "--checkpoint", out, "--threads", 1,
                                            "--json"), 0).stdout)
        test = [r for r in records(out / "metrics.jsonl") if r["kind"] == "test"]
        self.assertEqual(result["loss"], test[0]["loss"])

    def test_divergence_is_not_reported_as_a_result(self):
        out = self.directory / "out"
        result = self.expect(train(2, out, *self.settings[:-1], 300, "--optimizer", "sgd",
                                   "--learning-rate", 1000, "--schedule", "constant",
                                   "--checkpoint-every-steps", 1), 76)
        self.assertIn("not finite", result.stderr)
        self.assertEqual(result.stderr.count("error: "), 1)
        # The last finite weights already give an infinite loss: no number to be proud of.
        self.expect(run(1, "evaluate", "--checkpoint", out), 76)

    def test_exclusive_outputs_and_bad_options(self):
        out = self.directory / "out"
        self.expect(train(1, out, *self.settings, "--max-steps", 1), 75)
        self.expect(run(1, "evaluate", "--checkpoint", out, "--split", "tset"), 64)
        result = run(1, "evaluate", "--checkpoint", out, "--data", self.data, "--logits",
                     self.directory / "no" / "where.safetensors")
        self.expect(result, 73)
        self.assertIn("where.safetensors", result.stderr)


if __name__ == "__main__":
    main()
