"""A program on the library that is no example: a classification of twelve classes without images, callbacks
that throw or that the root alone has, a buffer that evaluations write, a split of other samples."""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
import harness  # noqa: E402
from harness import HOST, read_safetensors, records, run  # noqa: E402

TASKS = Path(os.environ.get("LOCKSTEP_TEST_TASKS", harness.PROGRAM.parent / "tests" / "examples" / "lockstep_test_tasks"))
# 540 training samples: 6 steps an epoch.
COMMON = ["--batch-size", 90, "--epochs", 3, "--threads", 1, "--learning-rate", 0.02, "--ema-decay", 0.9]


class TasksTest(harness.ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # A run that nothing has stopped, and the calls of its callbacks.
        cls.whole_place = Path(tempfile.mkdtemp(prefix="lockstep-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.whole_place, ignore_errors=True)
        (cls.whole_place / "calls").mkdir()
        cls.whole = cls.whole_place / "whole"
        cls.whole_result = cls.start(cls, 2, cls.whole, LOCKSTEP_TEST_CALLS=str(cls.whole_place / "calls"))

    def setUp(self):
        super().setUp()
        self.expect(self.whole_result, 0)

    def start(self, ranks, out, *arguments, **environment):
        return run(ranks, "--out", out, *COMMON, *arguments, program=TASKS, environment=environment)

    def tensors(self, out):
        directory = out / "checkpoints" / harness.checkpoints(out)[-1]
        return {file.name: file.read_bytes() for file in sorted(directory.glob("*.safetensors"))}

    def test_twelve_classes_without_images(self):
        out, result = self.whole, self.whole_result
        self.assertNotIn("image", result.stdout + result.stderr)
        self.assertIn("points (600 samples of 2)", result.stderr)
        test = [r for r in records(out / "metrics.jsonl") if r["kind"] == "test"][0]
        self.assertEqual([len(row) for row in test["confusion"]], [12] * 12)
        self.assertEqual([sum(row) for row in test["confusion"]], [20] * 12)
        self.assertGreater(test["accuracy"], 0.3)  # by chance: 0.08
        # What has no meaning here is not written down.
        state = json.loads((out / "checkpoints" / harness.checkpoints(out)[-1] / "state.json").read_text())
        config = (out / "config.ini").read_text()
        for name in ("augment", "rotation", "zoom", "shift-x", "shift-y", "label-smoothing", "data", "test-data",
                     "stratify"):
            self.assertNotIn(name, state["settings"])
            self.assertNotRegex(config, rf"(?m)^{name} =")
        self.assertNotIn("# Augmentation", config)
        self.assertIn("validation-fraction", state["settings"])
        # The page is of samples, and none is looked for.
        page = (out / "report.html").read_text()
        self.assertEqual(re.findall(r".{30}\bimages?\b(?!-rendering|/).{30}", page, re.IGNORECASE), [])
        self.assertIn("240 test samples", re.sub(r"<[^>]*>", "", page))
        self.assertIn("taken for", page)
        self.assertEqual(len(re.findall(r"<th scope=\"row\">11</th>", page)), 3)  # confusion, by class, frequencies
        result = self.expect(run(1, "report", out, "--out", self.directory / "again.html"), 0)
        self.assertNotIn("cannot be shown", result.stderr + result.stdout)
        text = self.expect(run(1, "inspect", out), 0).stdout
        self.assertIn("240 test samples of 2", text)
        self.assertNotIn("image", text)
        # The settings file of a run is one for the next.
        again = self.expect(self.start(2, self.directory / "again", "--config", out / "config.ini"), 0)
        self.assertEqual(self.tensors(out), self.tensors(self.directory / "again"), again.stderr)

    # An evaluation at the end of each epoch adds to `calls` on each rank as often as it has chunks.
    def test_a_buffer_written_in_evaluations_under_a_resume(self):
        out, parts = self.whole, self.directory / "parts"
        for steps in (6, 8):  # behind an evaluation, and in an epoch
            self.expect(self.start(2, parts, "--max-steps", steps, "--resume", "auto"), 75)
        self.expect(self.start(2, parts, "--resume", "auto"), 0)
        self.assertEqual(self.tensors(out), self.tensors(parts))
        self.assertEqual(records(out / "metrics.jsonl"), records(parts / "metrics.jsonl"))
        model = self.checkpoint_tensors(out)
        self.assertEqual(model["calls"][1], (18,))  # steps of training

    def checkpoint_tensors(self, out):
        return read_safetensors(out / "checkpoints" / harness.checkpoints(out)[-1] / "model.safetensors")

    def test_a_split_of_other_samples_is_refused(self):
        out = self.directory / "out"
        self.expect(self.start(2, out, "--max-steps", 2), 75)
        before = self.tensors(out)
        result = self.expect(self.start(2, out, "--resume", "auto", LOCKSTEP_TEST_OTHER_SPLIT="1"), 78)
        self.assertIn("another split", result.stderr)
        self.assertEqual(self.tensors(out), before)
        self.expect(self.start(2, out, "--resume", "auto"), 0)

    def test_without_a_validation_split(self):
        """It is judged by its training, and nothing waits for a validation that never comes."""
        out = self.directory / "out"
        result = self.expect(self.start(2, out, LOCKSTEP_TEST_NO_VALIDATION="1"), 0)
        self.assertIn("best training accuracy", result.stdout + result.stderr)
        self.assertRegex((out / "config.ini").read_text(), r"(?m)^schedule = constant$")
        self.assertEqual({r["kind"] for r in records(out / "metrics.jsonl")} - {"step"}, {"train", "test"})
        self.assertIn("best training accuracy so far", [r["reason"] for r in records(out / "decisions.jsonl")])
        for words in (["--schedule", "plateau"], ["--early-stopping", 2]):
            refused = self.expect(self.start(2, self.directory / "refused", *words, LOCKSTEP_TEST_NO_VALIDATION="1"), 64)
            self.assertIn(f"{words[0]} plateau: needs a validation split" if words[1] == "plateau" else
                          "--early-stopping: needs a validation split", refused.stderr)
        self.assertFalse((self.directory / "refused").exists())

    def test_a_metric_that_is_not_finite(self):
        result = self.start(2, self.directory / "stop", LOCKSTEP_TEST_METRIC="inf")
        self.assertRegex(self.expect(result, 76).stderr,
                         r"step 4: the reduced gradient is not finite: the loss or its metric, from rank 1 ")
        # What is no number has signs, of which a sum keeps one, not the same one on every rank.
        result = self.start(2, self.directory / "skip", "--virtual-ranks", 2, "--on-non-finite", "skip",
                            LOCKSTEP_TEST_METRIC="nan")
        self.assertRegex(self.expect(result, 0).stderr, r"step 4: .* from ranks 0 .*, 1 .*; its update is left out")

    def test_a_callback_that_throws(self):
        # After the epoch's end the root may have begun to save, or even be done.
        for callback, rank, good in (("on_step", 1, [6]), ("on_decision", 0, [6]), ("on_epoch", 1, [6, 12])):
            with self.subTest(callback=callback, rank=rank):
                out = self.directory / callback
                # With the time that mpirun gives the others to end: the root may be writing step 6.
                result = self.start(2, out, "--checkpoint-every-steps", 6, LOCKSTEP_TEST_THROW=f"{callback} {rank}",
                                    LOCKSTEP_TEST_GRACE="1")
                self.assertEqual(result.returncode, 65 if callback == "on_decision" else 70, result.stderr)
                message = rf"rank {rank} \({re.escape(HOST)}\).*: the callback has had enough"
                self.assertRegex(result.stderr, message)
                self.assertEqual(result.stderr.count("the callback has had enough"), 1, result.stderr)
                self.assertEqual(harness.processes_with(str(out), "cmdline"), [])
                # What was written before is whole, and goes on as if nothing had happened.
                self.assertIn(harness.checkpoints(out)[-1], [f"step-{step:08}" for step in good])
                self.expect(self.start(2, out, "--checkpoint-every-steps", 6, "--resume", "auto"), 0)
                self.assertEqual(self.tensors(self.whole), self.tensors(out))

    def test_callbacks_of_the_root_alone(self):
        directory = self.directory / "calls"
        directory.mkdir()
        self.expect(self.start(2, self.directory / "out", LOCKSTEP_TEST_CALLS=str(directory),
                               LOCKSTEP_TEST_ROOT_ONLY="1"), 0)
        all_ranks, root_only = ({file.name: file.read_text().splitlines() for file in place.iterdir()}
                                for place in (self.whole_place / "calls", directory))
        expected = []
        for epoch in (1, 2, 3):
            expected += [f"step {6 * (epoch - 1) + i}" for i in range(1, 7)]
            expected += [f"decision {epoch}", f"epoch {epoch}"]
        self.assertEqual(all_ranks, {"0": expected, "1": expected})
        self.assertEqual(root_only, {"0": expected})

    def test_settings_without_a_meaning(self):
        out = self.directory / "never"
        result = self.expect(self.start(2, out, "--augment=no", "--model", "mlp"), 64)
        self.assertIn("--augment: is not used by this command: points is trained on no images", result.stderr)
        self.assertIn("--model: is not used by this command: points brings a network of its own", result.stderr)
        # A settings file may be another program's.
        config = self.directory / "other.ini"
        config.write_text("augment = no\nseed = 4\n")
        self.expect(self.start(1, out, "--config", config, "--max-steps", 1), 75)
        self.assertNotIn("augment", (out / "config.ini").read_text())
        self.assertIn("seed = 4\n", (out / "config.ini").read_text())

    def test_help_is_never_a_value_of_its_own(self):
        for words in (["--out", "--help"], ["--epochs", "-h"], ["-h"]):
            result = self.expect(run(1, *words, program=TASKS), 0)
            self.assertIn("Usage: ", result.stdout)
        self.expect(run(1, "--out=-h", *COMMON, "--max-steps", 1, program=TASKS, cwd=self.directory), 75)
        self.assertTrue((self.directory / "-h" / "config.ini").is_file())


if __name__ == "__main__":
    harness.main()
