#!/usr/bin/env python3
"""Checkpoints of lockstep in PyTorch, both ways. Needs torch and safetensors (pip install torch safetensors numpy).

  load_checkpoint.py runs/mine --data data/mnist           accuracy on the test images, computed by PyTorch
  load_checkpoint.py runs/mine --compare logits.safetensors  and how far its logits are from lockstep's
                                                           (lockstep evaluate --logits logits.safetensors)

load(DIRECTORY) gives the network with its weights; save(NETWORK.state_dict(), NAME, DIRECTORY) writes a
checkpoint that `lockstep evaluate` and `lockstep predict` take.
"""
import argparse
import gzip
import hashlib
import json
import os
import struct
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F


class DigitsCNN(nn.Module):
    """--model digits-cnn."""

    def __init__(self, channels=1, height=28, width=28, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv4 = nn.Conv2d(64, 64, 3, padding=1)
        self.dense1 = nn.Linear(64 * (height // 4) * (width // 4), 256)
        self.dense2 = nn.Linear(256, classes)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.dropout(F.max_pool2d(F.relu(self.conv2(x)), 2), 0.25, self.training)
        x = F.relu(self.conv3(x))
        x = F.dropout(F.max_pool2d(F.relu(self.conv4(x)), 2), 0.25, self.training)
        x = F.dropout(F.relu(self.dense1(x.flatten(1))), 0.5, self.training)
        return self.dense2(x)


class BatchnormCNN(nn.Module):
    """--model batchnorm-cnn."""

    def __init__(self, channels=1, height=28, width=28, classes=10):
        super().__init__()
        widths = (channels, 32, 32, 64, 64, 128, 128)
        for number in range(1, 7):
            self.add_module(f"conv{number}", nn.Conv2d(widths[number - 1], widths[number], 3, padding=1))
            self.add_module(f"norm{number}", nn.BatchNorm2d(widths[number]))
        self.dense = nn.Linear(128 * (height // 8) * (width // 8), classes)

    def forward(self, x):
        for number in range(1, 7):
            x = F.relu(getattr(self, f"conv{number}")(x))
            if number % 2 == 0:
                x = F.max_pool2d(x, 2)
            x = getattr(self, f"norm{number}")(x)
            if number % 2 == 0:
                x = F.dropout(x, 0.3, self.training)
        return self.dense(x.flatten(1))


class LeNet(nn.Module):
    """--model lenet."""

    def __init__(self, channels=1, height=28, width=28, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.dense1 = nn.Linear(16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2), 120)
        self.dense2 = nn.Linear(120, 84)
        self.dense3 = nn.Linear(84, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.dense1(x.flatten(1)))
        return self.dense3(F.relu(self.dense2(x)))


class SmallCNN(nn.Module):
    """--model small-cnn."""

    def __init__(self, channels=1, height=28, width=28, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 5, padding=2)
        self.conv2 = nn.Conv2d(8, 24, 5, padding=2)
        self.dense1 = nn.Linear(24 * (height // 4) * (width // 4), classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.dense1(x.flatten(1))


class MLP(nn.Module):
    """--model mlp."""

    def __init__(self, channels=1, height=28, width=28, classes=10):
        super().__init__()
        self.dense1 = nn.Linear(channels * height * width, 256)
        self.dense2 = nn.Linear(256, 128)
        self.dense3 = nn.Linear(128, classes)

    def forward(self, x):
        x = F.dropout(F.relu(self.dense1(x.flatten(1))), 0.2, self.training)
        x = F.dropout(F.relu(self.dense2(x)), 0.2, self.training)
        return self.dense3(x)


NETWORKS = {"batchnorm-cnn": BatchnormCNN, "digits-cnn": DigitsCNN, "lenet": LeNet, "mlp": MLP,
            "small-cnn": SmallCNN}


def checkpoint_directory(path):
    """A run directory stands for its best checkpoint."""
    path = Path(path)
    store = path / "checkpoints"
    return store / (store / "BEST").read_text().strip() if store.is_dir() else path


def verify(directory):
    """Raises ValueError unless every file is the one that the manifest lists."""
    text = (directory / "MANIFEST.json").read_text()
    body, _, last = text.rstrip("\n").rpartition("\n")
    if hashlib.sha256((body + "\n").encode()).hexdigest() != last:
        raise ValueError(f"{directory}/MANIFEST.json: does not match its own checksum")
    for file in json.loads(body)["files"]:
        if hashlib.sha256((directory / file["name"]).read_bytes()).hexdigest() != file["sha256"]:
            raise ValueError(f"{directory / file['name']}: does not match the manifest")


def load(path, **shape):
    """The checkpoint's network, ready to predict, with the weights lockstep itself predicts with: the averaged
    ones where there are some. shape: channels, height, width, classes, where they are not those of MNIST."""
    directory = checkpoint_directory(path)
    verify(directory)
    settings = json.loads((directory / "state.json").read_text())["settings"]
    average = directory / "ema.safetensors"
    network = NETWORKS[settings["model"]](**shape)
    network.load_state_dict(load_file(average if average.exists() else directory / "model.safetensors"))
    return network.eval()


def save(state_dict, model, directory):
    """Writes weights with PyTorch's names as a checkpoint to evaluate or predict with (not to resume: it has no
    optimizer). `model` is one of NETWORKS; `directory` must not exist."""
    directory = Path(directory)
    temporary = directory.with_name(f".{directory.name}.tmp")
    temporary.mkdir()
    save_file({name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
               for name, tensor in state_dict.items()},
              temporary / "model.safetensors", metadata={"format": "pt"})
    nothing = {"loss": 0.0, "correct": 0, "samples": 0}
    state = {"schema": 1, "cursor": {"epoch": 0, "step_in_epoch": 0, "global_step": 0}, "seed": 0,
             "global_batch": 1, "training_samples": 0, "data_sha256": "", "epoch_sums": nothing,
             "window_sums": nothing, "best": None, "epochs_without_gain": 0, "stop_reason": "none",
             "optimizer_steps": 0, "schedule": {"name": "constant", "base_rate": 0.001},
             "numerics": f"imported from PyTorch {torch.__version__}", "settings": {"model": model, "convolution": "auto"}}
    (temporary / "state.json").write_text(json.dumps(state, indent=2) + "\n")
    files = []
    for name in ("model.safetensors", "state.json"):
        content = (temporary / name).read_bytes()
        files.append({"name": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})
    # Canonical JSON, then the SHA-256 of all bytes before it.
    body = json.dumps({"files": files, "global_step": 0, "schema": 1}, separators=(",", ":"), sort_keys=True) + "\n"
    (temporary / "MANIFEST.json").write_text(body + hashlib.sha256(body.encode()).hexdigest() + "\n")
    os.rename(temporary, directory)


def read_idx(path):
    """The array in an IDX file, raw or gzip, as a uint8 tensor."""
    content = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4:4 + 4 * dimensions])
    return torch.frombuffer(bytearray(content[4 + 4 * dimensions:]), dtype=torch.uint8).reshape(shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="checkpoint directory, or a run directory (its best)")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "data" / "mnist",
                        help="directory with the t10k-* IDX files")
    parser.add_argument("--compare", metavar="FILE", help="logits that `lockstep evaluate --logits FILE` wrote")
    parser.add_argument("--save", metavar="DIR", help="write the weights again, as a new checkpoint")
    arguments = parser.parse_args()

    network = load(arguments.checkpoint)
    images = read_idx(arguments.data / "t10k-images-idx3-ubyte").unsqueeze(1).float() / 255
    labels = read_idx(arguments.data / "t10k-labels-idx1-ubyte").long()
    with torch.no_grad():
        logits = torch.cat([network(part) for part in images.split(250)])
    print(f"accuracy {100 * (logits.argmax(1) == labels).double().mean():.2f} % ({len(labels):,} images)")
    if arguments.compare:
        difference = (logits - load_file(arguments.compare)["logits"]).abs().max()
        print(f"largest difference of a logit from lockstep's: {difference:.2e}")
    if arguments.save:
        name, = (name for name, kind in NETWORKS.items() if isinstance(network, kind))
        save(network.state_dict(), name, arguments.save)
        print(f"written: {arguments.save}")


if __name__ == "__main__":
    main()
