"""lockstep bench: tables, JSON, arithmetic, refusals, and what a failure ends with."""

import json
import math
import os
import re
import shutil
import subprocess
import unittest
import xml.etree.ElementTree
from pathlib import Path

from harness import (MPIRUN, PROGRAM, SCRATCH, SOURCE, ProgramTest, command, main, read_idx, run, write_csv,
                     write_small_mnist)

PHASES = {"data", "forward", "backward", "communication", "optimizer", "other"}
MACHINE = {"benchmark", "started", "versions", "cores", "gpus"}


class BenchTest(ProgramTest):
    def bench(self, *arguments, code=0, **options):
        words = [str(PROGRAM), "bench", *map(str, arguments)]
        options = {"stdout": subprocess.PIPE, **options}
        result = subprocess.run(words, stderr=subprocess.PIPE, text=True, timeout=240, check=False, **options)
        self.assertEqual(list(Path(SCRATCH).glob("lockstep-bench-*")), [])
        return self.expect(result, code)

    def record(self, *arguments, **options):
        """What --json prints, which names what has measured it."""
        report = json.loads(self.bench(*arguments, "--json", **options).stdout)
        self.assertLessEqual(MACHINE, set(report))
        self.assertEqual(report["benchmark"], arguments[0])
        return report

    def expect_refusals(self, *cases):
        for arguments, expect in cases:
            with self.subTest(arguments):
                self.assertIn(expect, self.bench(*arguments, code=64).stderr)


PARTS = ["computing", "slower", "data", "skew", "exposed", "host", "validation", "checkpoint", "rest"]


class ScalingTest(BenchTest):
    def setUp(self):
        super().setUp()
        self.words = ["--data", write_small_mnist(self.directory / "data"), "--model", "mlp", "--threads", 1,
                      "--steps", 4]

    def scaling(self, *arguments, **options):
        return self.bench("scaling", *self.words, *arguments, **options)

    def forecast(self, *arguments):
        return self.record("scaling", "--batch-size", 100, *arguments)["forecast"]

    def check_rows(self, rows):
        for row in rows:
            rounds = row["samples_per_second_by_round"]
            self.assertGreater(min(rounds), 0)
            self.assertEqual(row["samples_per_second"], sorted(rounds)[len(rounds) // 2])
            self.assertEqual(list(row["parts_ms"]), PARTS)
            self.assertAlmostEqual(sum(row["parts_ms"].values()), row["step_ms"], places=6)
            self.assertAlmostEqual(row["samples_per_second"] * row["step_ms"] / 1000, row["global_batch"], places=6)
            for part in ("computing", "data", "host", "validation", "checkpoint"):
                self.assertGreater(row["parts_ms"][part], 0, part)
            for part in ("skew", "exposed"):
                self.assertGreaterEqual(row["parts_ms"][part], 0, part)
            # The wall clock is a watch of its own.
            self.assertLess(abs(row["parts_ms"]["rest"]), 0.05 * row["step_ms"])

    def test_json_and_picture(self):
        picture = self.directory / "picture.svg"
        report = json.loads(self.scaling("--ranks", "2,1", "--rounds", 3, "--batch-size", 60, "--json", "--predict",
                                         "2,64", "--picture", picture).stdout)
        rows = report["results"]
        self.assertEqual([(row["scaling"], row["ranks"], row["global_batch"], row["alone"]) for row in rows],
                         [("strong", 1, 60, True), ("strong", 2, 60, True), ("weak", 1, 60, True),
                          ("weak", 2, 120, True)])
        self.check_rows(rows)
        for row in rows:
            one = next(other for other in rows if other["scaling"] == row["scaling"])
            self.assertEqual(len(row["samples_per_second_by_round"]), 3)
            self.assertAlmostEqual(row["efficiency"],
                                   row["samples_per_second"] / one["samples_per_second"] / row["ranks"])
        # The network's gradient: 784 * 256 and so on, each padded to 64 bytes, and the control words.
        buckets = rows[1]["run"]["buckets"]
        self.assertEqual(sum(bucket["bytes"] for bucket in buckets), 4 * (235146 + 6 + 16))
        self.assertEqual(buckets[-1]["lead"], 0)
        self.assertEqual([(link["ranks"], link["global_batch"]) for link in report["links"]], [(2, 60), (2, 120)])
        self.assertEqual([entry["ranks"] for entry in report["forecast"]["ranks"]], [2, 64])

        record = self.directory / "record.json"
        record.write_text(json.dumps(report))
        report_again = self.record("scaling", "--from", record, "--predict", "2,64")
        for name in ("model", "seed", "rounds", "steps"):
            self.assertEqual(report_again[name], report[name])
        again = report_again["forecast"]
        for found, expect in zip(again["ranks"], report["forecast"]["ranks"]):
            self.assertAlmostEqual(found["weak_efficiency"], expect["weak_efficiency"], places=9)
        faster = self.record("scaling", "--from", record, "--predict", "64", "--link-latency", 0.001,
                             "--link-bandwidth", 1e9)["forecast"]["ranks"][0]
        self.assertGreater(faster["weak_efficiency"], 0.999)
        self.check_picture(picture)

    def check_picture(self, picture):
        texts = {"".join(element.itertext()).strip() for element in xml.etree.ElementTree.parse(picture).iter()
                 if element.tag.endswith("}text")}
        self.assertLessEqual({*PARTS, "strong", "weak", "strong, forecast", "weak, forecast", "strong 1", "weak 2"},
                             texts)

    def test_table_with_virtual_ranks(self):
        text = self.scaling("--ranks", "1,2", "--rounds", 1, "--virtual-ranks", 4).stdout
        rows = [line.split() for line in text.splitlines() if line.startswith(("strong", "weak"))]
        self.assertEqual([row[:2] for row in rows],
                         [["strong", "1"], ["strong", "2"], ["weak", "1"], ["weak", "2"]])
        for row in rows:
            shares = [float(word) for word in row[7::2]]
            self.assertEqual(len(shares), len(PARTS))
            self.assertAlmostEqual(sum(shares), 100, delta=0.5)
        self.assertIn("messages by recursive doubling", text)
        self.assertIn("its memory, no network", text)

    def test_in_the_ranks_of_a_job(self):
        for ranks in (1, 2, 4):
            result = self.expect(run(ranks, "bench", "scaling", *self.words, "--json"), 0)
            report = json.loads(result.stdout)
            self.assertEqual([(row["ranks"], row["alone"]) for row in report["results"]], [(ranks, False)])
            self.check_rows(report["results"])
            self.assertEqual([(link["ranks"], link["algorithm"]) for link in report["links"]],
                             [(ranks, "mpi")] if ranks > 1 else [])
        # What Open MPI would do by itself.
        mpirun, *words = command(2, "bench", "scaling", *self.words, "--json")
        result = subprocess.run([mpirun, "--mca", "coll_libnbc_iallreduce_algorithm", "binomial", *words],
                                capture_output=True, text=True)
        [link] = json.loads(self.expect(result, 0).stdout)["links"]
        self.assertEqual(link["algorithm"], "tree")
        # What the ranks of other jobs would be does not count.
        self.expect(run(1, "bench", "scaling", *self.words, "--virtual-ranks", 1), 0)
        link = ["--link-latency", 20, "--link-bandwidth", 1000]
        alone = self.expect(run(1, "bench", "scaling", *self.words, *link, "--predict", 8, "--json"), 0)
        self.assertEqual([entry["ranks"] for entry in json.loads(alone.stdout)["forecast"]["ranks"]], [8])
        self.assertIn("--predict: one rank has no links",
                      self.expect(run(1, "bench", "scaling", *self.words, "--predict", 8), 64).stderr)
        self.assertIn("--picture: not in the ranks",
                      self.expect(run(2, "bench", "scaling", *self.words, "--picture", "x.svg"), 64).stderr)

    def test_forecast_without_a_run(self):
        link = ["--link-latency", 50, "--link-bandwidth", 1000, "--step-time", 60, "--predict", "1,2,1024"]
        one, two, many = self.forecast("--model", "mlp", "--bucket-mb", 100, *link)["ranks"]
        self.assertEqual((one["strong_efficiency"], one["weak_efficiency"], one["batch_per_rank"]), (1, 1, 1))
        # A half each way, then the sums of both: two messages of 50 us, with 8 ns a byte of all.
        exposed = 2 * 0.05 + 8e-6 * 4 * (235146 + 6 + 16)
        self.assertAlmostEqual(two["weak_step_ms"], 60 + exposed, places=6)
        self.assertAlmostEqual(two["strong_step_ms"], 30 + exposed, places=6)
        self.assertAlmostEqual(two["strong_efficiency"], 30 / (30 + exposed), places=6)
        self.assertEqual(two["batch_per_rank"], math.ceil(9 * exposed / 0.6))
        self.assertLess(many["weak_efficiency"], two["weak_efficiency"])
        text = self.bench("scaling", *link).stdout
        self.assertRegex(text, r"(?m)^ 1024 +\d")
        self.assertIn("that reaches 90 %", text)

    def test_forecasts_that_are_refused(self):
        link = ["--link-latency", 1, "--link-bandwidth", 1]
        self.expect_refusals(
            (["scaling", "--step-time", 3], "--step-time needs --link-latency"),
            (["scaling", "--step-time", 3, *link, "--ranks", 2], "nothing is measured"),
            (["scaling", "--step-time", 3, *link, "--picture", "x.svg"], "nothing is measured"),
            (["scaling", "--step-time", 3, *link, "--from", "x"], "exclude each other"),
            (["scaling", "--from", "x", "--batch-size", 8], "--batch-size: with --from all settings"),
            (["scaling", "--from", "x", "--config", SOURCE / "configs" / "smoke.ini"], "with --from all settings"),
            (["scaling", "--ranks", 1, "--link-latency", 5], "--link-latency: one rank has no links"),
            (["scaling", "--step-time", 1e12, "--link-latency", 1e12, "--link-bandwidth", 1e-300], "no training has"),
            (["scaling", "--link-latency", "-1"], "--link-latency -1: expected a number above 0"),
            (["scaling", "--link-bandwidth", "1G"], "--link-bandwidth 1G"),
            (["scaling", "--predict", "0"], "--predict 0"))
        missing = self.directory / "missing.json"
        self.assertIn(str(missing), self.bench("scaling", "--from", missing, code=66).stderr)
        missing.write_text("{}")
        self.assertIn("holds no forecast", self.bench("scaling", "--from", missing, code=65).stderr)
        missing.write_text('{"results": []}')
        self.assertIn("it is of one rank", self.bench("scaling", "--from", missing, code=65).stderr)
        self.assertIn("cannot be written", self.bench("scaling", "--picture", self.directory, code=73).stderr)
        self.assertIn("cannot be written", self.bench("scaling", "--picture", "/nonexistent/x.svg", code=73).stderr)

    def test_too_few_steps_an_epoch(self):
        self.assertIn("at least 3 are needed", self.scaling("--ranks", 1, "--batch-size", 1500, code=64).stderr)

    def test_the_failure_of_a_job_is_its_own(self):
        missing = self.directory / "missing"
        self.assertIn(str(missing), self.bench("scaling", "--ranks", 1, "--data", missing, code=66).stderr)
        damaged = write_small_mnist(self.directory / "damaged")
        os.truncate(damaged / "train-images-idx3-ubyte", 1000)
        self.assertIn("train-images-idx3-ubyte",
                      self.bench("scaling", "--ranks", 2, "--data", damaged, code=65).stderr)

    def test_wrong_use(self):
        self.expect_refusals(
            ([], "allreduce"), (["scalign"], "did you mean scaling?"),
            (["scaling", "--ranks", "0"], "--ranks"), (["scaling", "--rounds", "0"], "--rounds"),
            (["scaling", "--steps", "1"], "--steps"), (["scaling", "--out", "x"], "--out"),
            (["scaling", "--min-bytes", "8"], "it belongs to bench allreduce"),
            (["scaling", "--batchsize", "1"], "did you mean --batch-size?"))

    def test_output_that_nobody_can_read(self):
        with open("/dev/full", "w") as full:
            self.scaling("--ranks", 1, "--rounds", 1, code=74, stdout=full)
            self.bench("scaling", "--step-time", 3, "--link-latency", 1, "--link-bandwidth", 1, code=74, stdout=full)


class AllReduceTest(BenchTest):
    def check(self, report, ranks):
        for row in report["results"]:
            self.assertEqual(row["bytes"], 4 * row["count"])
            self.assertEqual((row["wrong"], row["wrong_by_rank"]), (0, [0] * ranks))
            self.assertGreater(row["median_us"], 0)
            self.assertGreaterEqual(row["worst_rank_us"], row["median_us"])
            # MB/s from bytes and microseconds.
            bandwidth = row["bytes"] / row["worst_rank_us"] / 1000
            self.assertAlmostEqual(row["algorithm_gb_per_second"], bandwidth, delta=1e-9 * bandwidth)
            self.assertAlmostEqual(row["bus_gb_per_second"], bandwidth * 2 * (ranks - 1) / ranks,
                                   delta=1e-9 * bandwidth)
            latency = row["latency_us"]
            self.assertLessEqual(latency["min"], latency["avg"] * (1 + 1e-9))
            self.assertLessEqual(latency["avg"], latency["max"] * (1 + 1e-9))

    def test_json_of_a_job_it_starts_itself(self):
        for ranks in (1, 2):
            report = self.record("allreduce", "--ranks", ranks, "--min-bytes", "8", "--max-bytes", "1K",
                                 "--factor", 4, "--rounds", 7)
            self.assertEqual((report["backend"], report["ranks"], len(report["hosts"])), ("mpi", ranks, ranks))
            self.assertIs(report["shared_memory"], ranks > 1)
            self.assertEqual([row["bytes"] for row in report["results"]], [8, 32, 128, 512])
            self.assertEqual({row["repeats"] for row in report["results"]}, {7})
            self.check(report, ranks)

    def test_json_under_mpirun(self):
        result = self.expect(run(2, "bench", "allreduce", "--min-bytes", "4K", "--max-bytes", "64K", "--json",
                                 "--shared-memory", "false"), 0)
        report = json.loads(result.stdout)
        self.assertIs(report["shared_memory"], False)
        self.assertEqual([row["bytes"] for row in report["results"]], [4 << 10 << i for i in range(5)])
        self.assertGreaterEqual(min(row["repeats"] for row in report["results"]), 5)
        self.check(report, 2)

    def test_table(self):
        text = self.bench("allreduce", "--ranks", 2, "--max-bytes", "32K", "--rounds", 5).stdout
        self.assertIn("2(n-1)/n", text)
        sums, latency = ([line.split() for line in part.splitlines() if re.match(r" +\d", line)]
                         for part in text.split("latency, as in OSU's tests"))
        self.assertEqual([int(row[0]) for row in sums], [8 << i for i in range(13)])
        for size, count, repeats, typical, worst, algorithm, bus, wrong in sums:
            self.assertEqual((int(count), repeats, wrong), (int(size) // 4, "5", "0"))
            self.assertLessEqual(float(typical), float(worst))
            self.assertAlmostEqual(float(algorithm), float(bus), delta=0.002)  # 2(n-1)/n is 1
        self.assertEqual([int(row[0]) for row in latency], [8 << i for i in range(11)])
        for _, least, mean, most in latency:
            self.assertLessEqual(float(least), float(mean))
            self.assertLessEqual(float(mean), float(most))

    def test_one_size(self):
        for arguments, size in ((("--max-bytes", 4), 4), (("--min-bytes", "8K", "--max-bytes", 8192), 8192)):
            report = self.record("allreduce", "--ranks", 1, "--rounds", 1, *arguments)
            self.assertEqual([row["bytes"] for row in report["results"]], [size])

    def test_output_that_nobody_can_read(self):
        with open("/dev/full", "w") as full:
            for ranks in (1, 2):
                failed = self.bench("allreduce", "--ranks", ranks, "--max-bytes", 8, code=74, stdout=full)
                self.assertIn("standard output: cannot be written: No space left", failed.stderr)
            self.bench("input", "--rounds", 1, "--data", write_small_mnist(self.directory / "data"), code=74, stdout=full)

    def test_ranks_with_other_options(self):
        mpirun, *words = command(1, "bench", "allreduce", "--max-bytes", 64)
        result = subprocess.run([mpirun, *words, "--rounds", "2", ":", *words, "--rounds", "3"],
                                capture_output=True, text=True)
        self.assertIn("rank 1 (", self.expect(result, 64).stderr)
        self.assertRegex(result.stderr, r"had other settings than rank 0 \(.*\), 'rounds = 3' in place of 'rounds = 2':")

    def test_wrong_results(self):
        # Passage 1 lets the ranks begin together, passage 2 is the first sum.
        result = self.bench("allreduce", "--ranks", 2, "--max-bytes", 32, "--rounds", 5, "--json",
                            "--inject-fault", "flip@all-reduce:rank=1,pass=2,bit=30", code=76)
        rows = json.loads(result.stdout)["results"]
        self.assertEqual([row["wrong_by_rank"] for row in rows], [[0, 1], [0, 0], [0, 0]])
        self.assertEqual([row["wrong"] for row in rows], [1, 0, 0])
        self.assertRegex(result.stderr, r"all_reduce gave 1 wrong elements on rank 1 \(")

    def test_wrong_use(self):
        self.expect_refusals(
            (["allreduce", "--min-bytes", "6"], "--min-bytes 6: expected bytes"),
            (["allreduce", "--max-bytes", "1T"], "--max-bytes 1T: expected bytes"),
            (["allreduce", "--min-bytes", "8K", "--max-bytes", "4K"], "is more than"),
            (["allreduce", "--max-bytes", "4", "--min-bytes", "8"], "--min-bytes 8 is more than --max-bytes 4"),
            (["allreduce", "--factor", "1"], "--factor"),
            (["allreduce", "--ranks", "1,2"], "expected one number"),
            (["allreduce", "--steps", "4"], "--steps: is not used by this command"),
            (["allreduce", "--model", "mlp"], "--model: is not used by this command"))
        self.assertIn("mpirun has started", self.expect(run(2, "bench", "allreduce", "--ranks", 2), 64).stderr)


class StepTest(BenchTest):
    def step(self, *arguments):
        data = write_small_mnist(self.directory / "data", training=600)
        return self.record("step", "--data", data, "--threads", 1, "--steps", 4, *arguments)

    def check(self, report, ranks):
        self.assertEqual((report["ranks"], set(report["phases_ms"])), (ranks, PHASES))
        phases = report["phases_ms"].values()
        for phase in phases:
            # What is counted twice is missing from the rest of the wall clock.
            self.assertGreaterEqual(phase["least_rank"], 0)
            self.assertLessEqual(phase["least_rank"], phase["mean"] * (1 + 1e-9))
            self.assertLessEqual(phase["mean"], phase["most_rank"] * (1 + 1e-9))
        self.assertAlmostEqual(sum(phase["mean"] for phase in phases), report["step_ms"], places=6)
        self.assertAlmostEqual(report["samples_per_second"] * report["step_ms"] / 1000, report["global_batch"],
                               places=6)
        self.assertGreater(report["sgemm_gflop_per_second"], 0)
        counted = [layer for layer in report["layers"] if "forward_gflop" in layer]
        seconds = 0
        for layer in counted:
            self.assertGreater(layer["forward_ms"], 0)
            self.assertGreater(layer["backward_ms"], 0)
            both = layer["forward_gflop"] + layer["backward_gflop"]
            ms = layer["forward_ms"] + layer["backward_ms"]
            self.assertAlmostEqual(layer["gflop_per_second"], both / ms * 1000, places=6)
            seconds += ms / 1000
        self.assertAlmostEqual(report["gflop_per_step"] / seconds, report["gflop_per_second"], places=6)
        # Layers lie within the passes, and what is left of these is no layer's.
        total = sum(row["forward_ms"] + row["backward_ms"] for row in (*report["layers"], report["rest"]))
        self.assertLessEqual(total, report["layer_step_ms"] * (1 + 1e-9))
        self.assertGreaterEqual(min(report["rest"]["forward_ms"], report["rest"]["backward_ms"]), 0)
        self.assertEqual(report["layer_steps"], report["steps"])
        if ranks == 1:
            # Of two differences the median is the mean.
            self.assertEqual(report["steps"], 2)
            for name in ("forward", "backward"):
                passes = sum(row[f"{name}_ms"] for row in (*report["layers"], report["rest"]))
                self.assertAlmostEqual(report["watching"][f"{name}_ms"],
                                       passes - report["phases_ms"][name]["mean"], places=6)

    @staticmethod
    def gflop(inputs, outputs, positions, gradients):
        """Of a layer and an image: forward, and that many times in the backward pass."""
        forward = 2e-9 * inputs * outputs * positions
        return forward, gradients * forward

    def expect_layers(self, report, batch, expect):
        layers = {layer["layer"]: layer for layer in report["layers"] if layer["layer"]}
        self.assertEqual(list(layers), list(expect))
        for name, (forward, backward) in expect.items():
            self.assertAlmostEqual(layers[name]["forward_gflop"], batch * forward, places=9)
            self.assertAlmostEqual(layers[name]["backward_gflop"], batch * backward, places=9)

    def test_a_perceptron_on_two_ranks(self):
        report = self.step("--ranks", 2, "--model", "mlp", "--batch-size", 60)
        self.check(report, 2)
        # 30 images are the root's; the first layer's input has no gradient.
        self.expect_layers(report, 30, {"dense1": self.gflop(784, 256, 1, 1), "dense2": self.gflop(256, 128, 1, 2),
                                        "dense3": self.gflop(128, 10, 1, 2)})
        others = {layer["operators"] for layer in report["layers"] if not layer["layer"]}
        self.assertLessEqual({"flatten", "lockstep::dropout"}, others)

    def test_convolutions_both_ways(self):
        expect = {"conv1": self.gflop(25, 32, 784, 1), "conv2": self.gflop(32 * 25, 32, 784, 2),
                  "conv3": self.gflop(32 * 9, 64, 196, 2), "conv4": self.gflop(64 * 9, 64, 196, 2),
                  "dense1": self.gflop(3136, 256, 1, 2), "dense2": self.gflop(256, 10, 1, 2)}
        for convolution in ("direct", "auto"):
            with self.subTest(convolution):
                report = self.step("--batch-size", 20, "--convolution", convolution)
                self.check(report, 1)
                self.expect_layers(report, 20, expect)

    def test_virtual_ranks(self):
        report = self.step("--model", "lenet", "--batch-size", 32, "--virtual-ranks", 4)
        self.check(report, 1)
        self.expect_layers(report, 32, {"conv1": self.gflop(25, 6, 784, 1), "conv2": self.gflop(6 * 25, 16, 100, 2),
                                        "dense1": self.gflop(400, 120, 1, 2), "dense2": self.gflop(120, 84, 1, 2),
                                        "dense3": self.gflop(84, 10, 1, 2)})

    def test_table(self):
        data = write_small_mnist(self.directory / "data", training=600)
        result = self.expect(run(2, "bench", "step", "--data", data, "--model", "mlp", "--steps", 4,
                                 "--threads", 1), 0)
        rows = [line.split() for line in result.stdout.splitlines()]
        shares = {row[0]: float(row[2]) for row in rows if row and row[0] in PHASES and row[3:4] == ["%"]}
        self.assertEqual(set(shares), PHASES)
        self.assertAlmostEqual(sum(shares.values()), 100, delta=0.5)
        self.assertEqual([row[:2] for row in rows if row and row[0].startswith("dense")],
                         [[f"dense{number}", "lockstep::dense"] for number in (1, 2, 3)])
        self.assertRegex(result.stdout, r"(?m)^- +for being watched +-?[\d.]+ +-?[\d.]+$")

    def test_wrong_use(self):
        self.expect_refusals((["step", "--steps", "1"], "--steps"), (["step", "--rounds", "2"], "--rounds"),
                             (["step", "--model", "mpl"], "did you mean mlp?"),
                             (["step", "--inject-fault", "kill@forward:rank=0"], "--inject-fault"))
        missing = self.directory / "missing"
        self.assertIn(str(missing), self.bench("step", "--ranks", 2, "--data", missing, code=66).stderr)


class CheckpointTest(BenchTest):
    def setUp(self):
        super().setUp()
        self.data = write_small_mnist(self.directory / "data")

    def checkpoint(self, *arguments, **options):
        return self.record("checkpoint", "--data", self.data, "--model", "mlp", "--threads", 1,
                           "--steps", 3, *arguments, **options)

    def test_json(self):
        for ranks in (1, 2):
            report = self.checkpoint("--ranks", ranks, "--rounds", 3, "--batch-size", 60)
            # Weights and one state of RMSprop for each of 235,146 parameters.
            self.assertGreater(report["bytes"], 2 * 4 * 235146)
            self.assertLess(report["bytes"], 2 * 4 * 235146 + 20000)
            self.assertEqual((report["ranks"], report["steps_per_epoch"]), (ranks, 45))
            parts = {"encode", "hash", "write", "fsync", "save", "read", "stall"}
            self.assertEqual(set(report["seconds"]), parts)
            for part in parts:
                rounds = report["seconds_by_round"][part]
                self.assertEqual(len(rounds), 3)
                self.assertEqual(report["seconds"][part], sorted(rounds)[1])
                self.assertGreater(min(rounds), 0)
            self.assertAlmostEqual(report["epoch_seconds"], 45 * report["step_seconds"], places=9)
            self.assertAlmostEqual(report["stall_share_of_epoch"],
                                   report["seconds"]["stall"] / report["epoch_seconds"], places=9)

    def test_the_stall_is_without_the_step(self):
        # Long steps and a small checkpoint, of which one in three falls on an epoch's end.
        report = self.record("checkpoint", "--data", self.data, "--model", "lenet", "--threads", 1,
                             "--batch-size", 900, "--steps", 2, "--rounds", 3)
        self.assertEqual((len(report["seconds_by_round"]["stall"]), report["steps_per_epoch"]), (2, 3))
        # The stall may wait for the checkpoint before, however slow the disk is.
        self.assertLess(report["seconds"]["stall"], report["step_seconds"] + report["seconds"]["save"])

    def test_in_a_directory_that_is_left_as_it_was(self):
        place = self.directory / "place"
        place.mkdir()
        self.assertEqual(self.checkpoint("--rounds", 2, "--out", place)["directory"], str(place))
        self.assertEqual(list(place.iterdir()), [])
        missing = self.directory / "missing"
        result = self.bench("checkpoint", "--data", self.data, "--model", "mlp", "--out", missing, code=73)
        self.assertIn(str(missing), result.stderr)

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "mounting needs root and unshare")
    def test_on_a_full_disk(self):
        place = self.directory / "place"
        place.mkdir()
        words = ["bench", "checkpoint", "--data", self.data, "--model", "mlp", "--threads", 1, "--steps", 3,
                 "--out", place]
        script = f'mount -t tmpfs -o size=1m none {place} && "$@"; code=$?; ls -A {place}; exit $code'
        for program in ([str(PROGRAM)], [str(MPIRUN), "-n", "2", str(PROGRAM)]):
            result = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", *program, *map(str, words)],
                                    capture_output=True, text=True, timeout=120,
                                    env={**os.environ, "LOCKSTEP_TEST_GRACE": "0"})
            if "mount:" in result.stderr:
                self.skipTest(result.stderr.strip())
            self.expect(result, 74)
            self.assertIn("No space left on device", result.stderr)
            self.assertIn(str(place), result.stderr)
            self.assertEqual(result.stdout, "", "left behind")

    def test_table(self):
        text = self.bench("checkpoint", "--data", self.data, "--model", "mlp", "--threads", 1, "--steps", 3,
                          "--rounds", 2).stdout
        names = [line.split()[0] for line in text.splitlines() if re.match(r"\w+ +\d+\.\d+ ", line)]
        self.assertEqual(names, ["encode", "hash", "write", "fsync", "save", "read", "stall"])
        self.assertRegex(text, r"one checkpoint an epoch is \d+\.\d+ %")

    def test_wrong_use(self):
        self.expect_refusals((["checkpoint", "--rounds", "0"], "--rounds"),
                             (["checkpoint", "--resume", "auto"], "--resume"),
                             (["checkpoint", "--data", self.data, "--model", "mlp", "--batch-size", 900,
                               "--steps", 3], "fell on an epoch's end"))


class InputTest(BenchTest):
    def check(self, report, images, training, parts):
        self.assertEqual((report["images"], report["training_images"]), (images, training))
        self.assertEqual(list(report["parts"]), parts)
        for name, part in report["parts"].items():
            self.assertEqual(part["images"], images if name in ("load", "hash") else training)
            self.assertAlmostEqual(part["images_per_second"] * part["ns_per_image"], 1e9, places=3)
            self.assertAlmostEqual(part["images_per_second"],
                                   part["images"] / sorted(part["seconds_by_round"])[1], places=3)

    def test_idx_and_csv(self):
        parts = ["load", "hash", "order", "scale", "augment", "input"]
        data = write_small_mnist(self.directory / "data", training=1000)
        self.check(self.record("input", "--data", data, "--rounds", 3), 1000, 900, parts)
        pixels, labels = (read_idx(f"train-{name}-ubyte")[1] for name in ("images-idx3", "labels-idx1"))
        csv = write_csv(self.directory / "digits.csv", pixels[:200 * 784], labels[:200])
        parts.remove("augment")
        report = self.record("input", "--data", csv, "--rounds", 3, "--augment", "no", "--validation-fraction", 0,
                             "--schedule", "constant")
        self.check(report, 200, 200, parts)
        self.assertIn("digits.csv", report["source"])

    def test_table(self):
        data = write_small_mnist(self.directory / "data", training=1000)
        rows = [line.split() for line in self.bench("input", "--data", data, "--rounds", 1).stdout.splitlines()]
        found = {row[0]: row for row in rows if row and re.fullmatch(r"\d+", row[1] if len(row) > 1 else "")}
        self.assertEqual(list(found), ["load", "hash", "order", "scale", "augment", "input"])
        for row in found.values():
            self.assertAlmostEqual(float(row[1]) * float(row[2]) / 1e9, 1, delta=0.05)

    def test_wrong_use(self):
        self.expect_refusals((["input", "--ranks", "2"], "--ranks: is not used by this command"),
                             (["input", "--threads", "2"], "--threads"))
        self.assertIn("without mpirun", self.expect(run(1, "bench", "input"), 64).stderr)
        missing = self.directory / "missing"
        self.assertIn(str(missing), self.bench("input", "--data", missing, code=66).stderr)


if __name__ == "__main__":
    main()
