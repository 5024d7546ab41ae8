"""Programs that use lockstep as a library, built from an installed prefix: examples/custom_model and
examples/regression, trained at 2 ranks, stopped, resumed, and at other numbers of ranks."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
import harness  # noqa: E402
from harness import FASHION, PROGRAM, SOURCE, read_safetensors, records, run  # noqa: E402

BUILD = Path(os.environ.get("LOCKSTEP_BUILD", PROGRAM.parent))
SANITIZERS = os.environ.get("LOCKSTEP_SANITIZE", "")
# The list of what Open MPI leaks is linked into lockstep's own programs only.
ENVIRONMENT = harness.TRACED if SANITIZERS else {}


def checked(*words, **options):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                            timeout=900, **options)
    if result.returncode != 0:
        raise AssertionError(f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def compiler_cache():
    if shutil.which("ccache") is None:
        return []
    return ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"]


class LibraryTest(harness.ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.place = Path(tempfile.mkdtemp(prefix="lockstep-library-"))
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        cls.prefix = cls.place / "prefix"
        checked("cmake", "--install", BUILD, "--prefix", cls.prefix)
        # A copy: nothing of the source tree lies beside it.
        examples = cls.place / "examples"
        shutil.copytree(SOURCE / "examples", examples)
        build = cls.place / "build"
        flags = [f"-DCMAKE_CXX_FLAGS=-fsanitize={SANITIZERS}"] if SANITIZERS else []
        checked("cmake", "-S", examples, "-B", build, f"-DCMAKE_PREFIX_PATH={cls.prefix}",
                "-DCMAKE_BUILD_TYPE=Release", *compiler_cache(), *flags)
        checked("cmake", "--build", build)
        cls.custom_model, cls.regression = build / "custom_model", build / "regression"

    def start(self, program, ranks, out, *arguments):
        return run(ranks, "--out", out, "--threads", 1, *arguments, program=program, timeout=300,
                   environment=ENVIRONMENT)

    def small(self):
        data = self.directory / "data"
        return data if data.exists() else harness.write_small_mnist(data, 1200, 200)

    def checkpoint(self, out):
        return out / "checkpoints" / harness.checkpoints(out)[-1]

    def expect_equal(self, a, b):
        for name in ("model.safetensors", "optimizer.safetensors", "ema.safetensors"):
            first, second = self.checkpoint(a) / name, self.checkpoint(b) / name
            self.assertEqual(first.exists(), second.exists(), name)
            if first.exists():
                self.assertEqual(first.read_bytes(), second.read_bytes(), name)

    def test_installed_files_name_nothing_of_the_source_tree(self):
        for file in (self.prefix / "lib").rglob("*.cmake"):
            self.assertNotIn(str(SOURCE), file.read_text(), file)

    def test_custom_model(self):
        common = ["--data", self.small(), "--epochs", 2, "--batch-size", 100, "--ema-decay", 0.9]
        whole, parts = self.directory / "whole", self.directory / "parts"
        result = self.expect(self.start(self.custom_model, 2, whole, *common), 0)
        self.assertIn("custom_model: the best so far", result.stderr)
        self.assertTrue((whole / "report.html").is_file())
        tensors = read_safetensors(self.checkpoint(whole) / "model.safetensors")
        self.assertEqual(tensors["stem_norm.num_batches_tracked"], ([], (22,)))
        self.assertEqual(tensors["stem_norm.running_mean"][0], [16])
        self.assertNotEqual(set(tensors["stem_norm.running_mean"][1]), {0.0})
        # A stop in the middle of an epoch changes nothing.
        self.expect(self.start(self.custom_model, 2, parts, *common, "--max-steps", 7), 75)
        self.expect(self.start(self.custom_model, 2, parts, *common, "--resume", "auto"), 0)
        self.expect_equal(whole, parts)
        self.assertEqual(records(whole / "metrics.jsonl"), records(parts / "metrics.jsonl"))

    def test_custom_model_at_other_numbers_of_ranks(self):
        common = ["--data", self.small(), "--epochs", 1, "--batch-size", 90, "--virtual-ranks", 4]
        outs = []
        for ranks in (1, 2, 4):
            outs.append(self.directory / f"ranks-{ranks}")
            self.expect(self.start(self.custom_model, ranks, outs[-1], *common), 0)
        self.expect_equal(outs[0], outs[1])
        self.expect_equal(outs[0], outs[2])
        # One run that moves: stopped at 4 ranks, finished at 1.
        moved = self.directory / "moved"
        self.expect(self.start(self.custom_model, 4, moved, *common, "--max-steps", 5), 75)
        self.expect(self.start(self.custom_model, 1, moved, *common, "--resume", "auto"), 0)
        self.expect_equal(outs[0], moved)

    @harness.unittest.skipUnless(FASHION.exists(), "Debian's dataset-fashion-mnist is not installed")
    def test_custom_model_on_fashion_mnist(self):
        out = self.directory / "fashion"
        self.expect(self.start(self.custom_model, 2, out, "--data", FASHION, "--max-steps", 20), 75)

    def test_regression(self):
        out, parts = self.directory / "out", self.directory / "parts"
        common = ["--epochs", 3, "--batch-size", 500, "--learning-rate", 0.003]
        result = self.expect(self.start(self.regression, 2, out, *common), 0)
        self.assertIn("mean_absolute_error", result.stdout)
        self.assertNotIn("accuracy", result.stdout.split("settings:")[0])
        metrics = records(out / "metrics.jsonl")
        losses = [r["loss"] for r in metrics if r["kind"] == "validation"]
        self.assertEqual(len(losses), 3)
        self.assertLess(losses[-1], losses[0])
        for record in metrics:
            self.assertIn("mean_absolute_error", record)
            self.assertNotIn("accuracy", record)
            self.assertNotIn("confusion", record)
        decisions = records(out / "decisions.jsonl")
        self.assertEqual({d["monitor"] for d in decisions}, {"loss"})
        self.assertEqual([d["metric_after"] for d in decisions], losses)
        page = (out / "report.html").read_text()
        self.assertIn("mean_absolute_error", page)
        self.assertNotIn("nan", page.lower().replace("finance", ""))
        self.expect(self.start(self.regression, 2, parts, *common, "--max-steps", 50), 75)
        self.expect(self.start(self.regression, 2, parts, *common, "--resume", "auto"), 0)
        self.expect_equal(out, parts)

    def test_the_commands_of_the_page(self):
        page = (SOURCE / "docs" / "write-your-own-trainer.md").read_text()
        (self.directory / "data").symlink_to(SOURCE / "data")
        commands = re.findall(r"^mpirun -n 2 build-examples/(\S+) (.*)$", page, re.MULTILINE)
        self.assertEqual([name for name, _ in commands], ["custom_model", "custom_model", "regression"])
        for number, (name, words) in enumerate(commands, 1):
            program = self.custom_model.parent / name
            self.expect(run(2, *words.split(), "--max-steps", 3 * number, program=program,
                            cwd=self.directory, environment=ENVIRONMENT), 75)

    def test_refusals(self):
        out = self.directory / "never"
        for words, code, message in (
                (["--monitor", "accuracy"], 64, "what is trained here has no such metric"),
                (["--augment", "no"], 64, "--augment: is not used by this"),
                (["--model", "mlp"], 64, "--model: is not used by this"),
                (["--epochs", "0"], 64, "epochs")):
            result = self.expect(self.start(self.regression, 2, out, *words), code)
            self.assertIn(message, result.stderr)
        result = self.expect(self.start(self.custom_model, 2, out, "--data", "/none"), 66)
        self.assertIn("/none", result.stderr)
        self.assertFalse(out.exists())
        text = self.expect(run(2, "--help", program=self.regression), 0).stdout
        self.assertEqual(text.count("Usage: [mpirun -n RANKS] regression "), 1)
        self.assertNotIn("--model", text)
        # A checkpoint of another program.
        other = self.directory / "other"
        self.expect(self.start(self.regression, 1, other, "--max-steps", 1), 75)
        result = self.expect(run(1, "evaluate", "--checkpoint", other), 65)
        self.assertIn("friedman", result.stderr)


if __name__ == "__main__":
    harness.main()
