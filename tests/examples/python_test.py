"""examples/python/load_checkpoint.py: PyTorch computes from a checkpoint what lockstep computes, and
lockstep from PyTorch's weights what PyTorch computes. Skipped where no Python has torch and safetensors
(LOCKSTEP_TORCH_PYTHON names one)."""

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
import harness  # noqa: E402
from harness import SOURCE, run, train  # noqa: E402

SCRIPT = SOURCE / "examples" / "python" / "load_checkpoint.py"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockstep"
PYTHON = harness.find_python("numpy, safetensors.torch, torch", os.environ.get("LOCKSTEP_TORCH_PYTHON"), "python3",
                             str(CACHE / "peers-torch-2.11.0/bin/python"))


class LoadCheckpointTest(harness.ProgramTest):
    def script(self, *arguments):
        words = [PYTHON, str(SCRIPT), *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=300)

    def test_both_ways(self):
        data = harness.write_small_mnist(self.directory / "data")
        for model in ("mlp", "lenet", "digits-cnn", "small-cnn", "batchnorm-cnn"):
            out, logits, back = (self.directory / f"{model}-{name}" for name in ("run", "logits", "back"))
            average = ["--ema-decay", "0.9"] if model in ("mlp", "batchnorm-cnn") else []
            self.expect(train(1, out, "--data", data, "--model", model, "--max-steps", 12, *average), 75)
            checkpoint = out / "checkpoints" / harness.checkpoints(out)[-1]
            evaluated = self.expect(run(1, "evaluate", "--checkpoint", checkpoint, "--logits", logits), 0)
            seen = self.expect(self.script(checkpoint, "--data", data, "--compare", logits, "--save", back), 0)
            difference = float(re.search(r"from lockstep's: (\S+)", seen.stdout)[1])
            self.assertLess(difference, 1e-4)
            accuracy = float(re.search(r"accuracy\s+(\S+) %", evaluated.stdout)[1])
            self.assertIn(f"accuracy {accuracy:.2f} %", seen.stdout)
            # What PyTorch has written is computed as what it was read from.
            again = self.directory / f"{model}-again"
            self.expect(run(1, "evaluate", "--checkpoint", back, "--data", data, "--logits", again), 0)
            self.assertEqual(logits.read_bytes(), again.read_bytes())

    def test_a_damaged_checkpoint_is_refused(self):
        data = harness.write_small_mnist(self.directory / "data")
        out = self.directory / "run"
        self.expect(train(1, out, "--data", data, "--model", "mlp", "--max-steps", 2), 75)
        checkpoint = out / "checkpoints" / harness.checkpoints(out)[-1]
        model = checkpoint / "model.safetensors"
        content = bytearray(model.read_bytes())
        content[-1] ^= 1
        model.write_bytes(content)
        result = self.script(checkpoint, "--data", data)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("does not match the manifest", result.stderr)


if __name__ == "__main__":
    if PYTHON is None:
        print("skipped: no Python with numpy, torch and safetensors; LOCKSTEP_TORCH_PYTHON names one")
        sys.exit(77)
    harness.main()
