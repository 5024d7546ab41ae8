"""The event files of a run as TensorBoard's own reader reads them. Skipped where no Python has the package
tensorboard (LOCKSTEP_TENSORBOARD_PYTHON names one)."""

import base64
import json
import os
import struct
import subprocess

from harness import ProgramTest, find_python, main, records, skip_all, train, write_small_mnist

READER = """
import base64, json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
board = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0}).Reload()
tags = board.Tags()
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in board.Scalars(tag)] for tag in tags["scalars"]},
    "images": {tag: [[e.step, e.width, e.height, base64.b64encode(e.encoded_image_string).decode()]
                     for e in board.Images(tag)] for tag in tags["images"]}}))
"""
ERRORS_SHOWN = 24
PYTHON = find_python("tensorboard", os.environ.get("LOCKSTEP_TENSORBOARD_PYTHON"), "python3")


def as_float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


class TensorBoardTest(ProgramTest):
    def read(self, out):
        result = subprocess.run([PYTHON, "-c", READER, str(out)], capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def expect_scalars_of(self, out, board):
        wanted = {}
        for record in records(out / "metrics.jsonl"):
            for name in ("loss", "accuracy", "learning_rate"):
                if name in record:
                    wanted.setdefault(f"{record['kind']}/{name}", []).append(
                        [record["step"], as_float32(record[name])])
        shown = {tag: values for tag, values in board["scalars"].items() if "samples_per_second" not in tag}
        self.assertEqual(shown, wanted)

    def expect_pictures_of(self, out, board):
        evaluations = {kind: [r for r in records(out / "metrics.jsonl") if r["kind"] == kind]
                       for kind in ("validation", "test")}
        wanted = {f"{kind}/{what}": [r["step"] for r in found]
                  for kind, found in evaluations.items() for what in ("confusion", "errors")}
        self.assertEqual({tag: [image[0] for image in images] for tag, images in board["images"].items()}, wanted)
        for tag, images in board["images"].items():
            for (step, width, height, content), record in zip(images, evaluations[tag.split("/")[0]]):
                png = base64.b64decode(content)
                self.assertEqual(png[:16], b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
                self.assertEqual(struct.unpack(">II", png[16:24]), (width, height))
                if tag.endswith("/confusion"):
                    self.assertEqual((width, height), (484, 484))
                    continue
                wrong = record["samples"] - sum(row[i] for i, row in enumerate(record["confusion"]))
                rows = -(-min(wrong, ERRORS_SHOWN) // 6)
                self.assertEqual(height, 8 + rows * 82)

    def test_scalars_and_pictures(self):
        data = write_small_mnist(self.directory / "data")
        out = self.directory / "out"
        settings = ["--data", data, "--model", "mlp", "--batch-size", 100, "--log-every-steps", 10, "--epochs", 3]
        self.expect(train(2, out, *settings, "--max-steps", 40), 75)
        board = self.read(out)
        self.expect_scalars_of(out, board)
        self.assertEqual(list(board["images"]), ["validation/confusion", "validation/errors"])
        # What a resumed run repeats takes the place of what was there.
        self.expect(train(2, out, *settings, "--resume", "auto"), 0)
        board = self.read(out)
        self.expect_scalars_of(out, board)
        self.expect_pictures_of(out, board)


if __name__ == "__main__":
    if PYTHON is None:
        skip_all("no Python here has the package tensorboard")
    main()
