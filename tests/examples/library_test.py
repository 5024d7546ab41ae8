"""Programs that use lockstep as a library, built from an installed prefix: examples/custom_model and
examples/regression, trained at 2 ranks, stopped, resumed, and at other numbers of ranks."""

import fcntl
import hashlib
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

BUILD = Path(os.environ.get("LOCKSTEP_BUILD", PROGRAM.parent)).resolve()
SANITIZERS = os.environ.get("LOCKSTEP_SANITIZE", "")
# The list of what Open MPI leaks is linked into lockstep's own programs only.
ENVIRONMENT = harness.TRACED if SANITIZERS else {}


def checked(*words, **options):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                            timeout=900, **options)
    if result.returncode != 0:
        raise AssertionError(f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def hidden(*words):
    """A command for which the source tree and the build tree are empty."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # Whichever lies in the other goes with it.
    trees = [tree for tree in (SOURCE, BUILD) if not any(up in (SOURCE, BUILD) for up in tree.parents)]
    mounts = "".join(f"mount -t tmpfs none '{tree}' && " for tree in trees)
    # Where this cannot be done the test fails: nothing else shows what it is to show.
    return ["unshare", *user, "--mount", "sh", "-c",
            f"{mounts}test -z \"$(ls -A '{SOURCE}')\" && exec \"$@\"", "sh", *words]


def compiler_cache():
    if shutil.which("ccache") is None:
        return []
    return ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"]


class LibraryTest(harness.ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The same place each time, one test at a time: the compiler cache knows files by their paths.
        name = f"lockstep-library-{os.getuid()}-{hashlib.sha256(str(BUILD).encode()).hexdigest()[:8]}"
        cls.place = Path("/tmp") / name
        lock = open(f"{cls.place}.lock", "w")
        cls.addClassCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(cls.place, ignore_errors=True)
        cls.place.mkdir(mode=0o700)
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        # Built against where it was moved to after it was installed.
        checked("cmake", "--install", BUILD, "--prefix", cls.place / "first place")
        cls.prefix = cls.place / "prefix"
        (cls.place / "first place").rename(cls.prefix)
        shutil.copytree(SOURCE / "examples", cls.place / "examples")
        cls.mpirun = shutil.copy(harness.MPIRUN, cls.place)
        build = cls.place / "build"
        # What is optimised is the library: the examples are compiled in half the time without.
        flags = "-O0" + (f" -fsanitize={SANITIZERS}" if SANITIZERS else "")
        checked(*hidden("cmake", "-S", cls.place / "examples", "-B", build, f"-DCMAKE_PREFIX_PATH={cls.prefix}",
                        f"-DCMAKE_CXX_FLAGS={flags}", *compiler_cache()), cwd=cls.place)
        checked(*hidden("cmake", "--build", build, "-j2"), cwd=cls.place)
        cls.custom_model, cls.regression = build / "custom_model", build / "regression"

    def run_hidden(self, program, *arguments):
        return subprocess.run([str(word) for word in hidden(self.mpirun, "-n", "2", program, "--threads", "1",
                                                            *arguments)],
                              capture_output=True, text=True, timeout=300, cwd=self.directory,
                              env={**os.environ, "LOCKSTEP_TEST_GRACE": "0", **ENVIRONMENT})

    def start(self, program, ranks, out, *arguments):
        return run(ranks, "--out", out, "--threads", 1, *arguments, program=program, timeout=300,
                   environment=ENVIRONMENT)

    def small(self):
        data = self.directory / "data"
        return data if data.exists() else harness.write_small_mnist(data, 600, 100)

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

    # Neither does the program need the trees it was built from: its MNIST is the installed one.
    def test_without_source_and_build_tree(self):
        result = self.expect(self.run_hidden(self.custom_model, "--max-steps", 2, "--out", "run"), 75)
        self.assertIn(f"data: {self.prefix}/share/lockstep/mnist/train-images-idx3-ubyte.gz", result.stderr)
        self.assertRegex(result.stderr, r"  test +10,000 ")
        self.expect(self.run_hidden(self.regression, "--max-steps", 2, "--out", "other"), 75)
        # Moved after it was built: its MNIST is found beside the program, or not, and then it says so.
        moved = self.place / "moved"
        shutil.copy(self.custom_model, self.prefix / "bin")
        self.prefix.rename(moved)
        try:
            result = self.expect(self.run_hidden(moved / "bin" / "custom_model", "--max-steps", 1, "--out", "a"), 75)
            self.assertIn(f"data: {moved}/share/lockstep/mnist/train-images-idx3-ubyte.gz", result.stderr)
            result = self.expect(self.run_hidden(self.custom_model, "--max-steps", 1, "--out", "b"), 66)
            self.assertIn("was not found in ", result.stderr)
            self.assertIn(f"{self.prefix}/share/lockstep/mnist", result.stderr)
        finally:
            moved.rename(self.prefix)

    def test_custom_model(self):
        common = ["--data", self.small(), "--epochs", 2, "--batch-size", 90, "--ema-decay", 0.9]
        whole, parts = self.directory / "whole", self.directory / "parts"
        result = self.expect(self.start(self.custom_model, 2, whole, *common), 0)
        self.assertIn("custom_model: the best so far", result.stderr)
        self.assertTrue((whole / "report.html").is_file())
        tensors = read_safetensors(self.checkpoint(whole) / "model.safetensors")
        self.assertEqual(tensors["stem_norm.num_batches_tracked"], ([], (12,)))
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
        self.expect(self.start(self.custom_model, 4, moved, *common, "--max-steps", 3), 75)
        self.expect(self.start(self.custom_model, 1, moved, *common, "--resume", "auto"), 0)
        self.expect_equal(outs[0], moved)

    @harness.unittest.skipUnless(FASHION.exists(), "Debian's dataset-fashion-mnist is not installed")
    def test_custom_model_on_fashion_mnist(self):
        out = self.directory / "fashion"
        self.expect(self.start(self.custom_model, 2, out, "--data", FASHION, "--max-steps", 5), 75)

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

    def test_regression_at_other_numbers_of_ranks(self):
        outs = []
        for ranks in (1, 2, 4):
            outs.append(self.directory / f"ranks-{ranks}")
            self.expect(self.start(self.regression, ranks, outs[-1], "--epochs", 2, "--batch-size", 3000,
                                   "--virtual-ranks", 4), 0)
        for out in outs[1:]:
            self.expect_equal(outs[0], out)
            self.assertEqual(records(outs[0] / "metrics.jsonl"), records(out / "metrics.jsonl"))
        # Without virtual ranks sums are in another order, and the results near one another.
        near = self.directory / "near"
        self.expect(self.start(self.regression, 4, near, "--epochs", 2, "--batch-size", 3000), 0)
        losses = [[r["loss"] for r in records(out / "metrics.jsonl") if r["kind"] == "test"][0] for out in (outs[0], near)]
        self.assertAlmostEqual(losses[0] / losses[1], 1, places=3)

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
        for name in ("model", "augment", "data"):
            self.assertNotRegex(text, rf"(?m)^  --{name}\b[ \[]")
        # A checkpoint of another program.
        other = self.directory / "other"
        self.expect(self.start(self.regression, 1, other, "--max-steps", 1), 75)
        result = self.expect(run(1, "evaluate", "--checkpoint", other), 65)
        self.assertIn("friedman", result.stderr)


if __name__ == "__main__":
    harness.main()
