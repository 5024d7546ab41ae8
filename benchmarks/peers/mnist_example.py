#!/usr/bin/env python3
"""The recipe of PyTorch's own MNIST example until it reaches an accuracy on the 10,000 test images.

Two 3x3 convolutions of 32 and 64 channels, dropout, two dense layers (1,199,882 parameters); Adadelta at
1.0, times 0.7 after each epoch, batch 64, inputs normalised by mean and deviation, no augmentation. MNIST
is held in memory, which spares it the example's loader. Prints each epoch and as the last line one JSON
object; ends with 1 when the accuracy was not reached.
"""
import argparse
import json
import pathlib
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from ddp import read_idx

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dense1, self.dense2 = nn.Linear(64 * 12 * 12, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = F.dropout(F.max_pool2d(x, 2), 0.25, self.training)
        x = F.dropout(F.relu(self.dense1(x.flatten(1))), 0.5, self.training)
        return self.dense2(x)


def load(folder, part):
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3).unsqueeze(1).float().div_(255)
    return images.sub_(0.1307).div_(0.3081), read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1).long()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accuracy", type=float, default=0.99)
    parser.add_argument("--epochs", type=int, default=14, help="at most")
    parser.add_argument("--data", default=str(ROOT / "data" / "mnist"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    folder = pathlib.Path(options.data)
    images, labels = load(folder, "train")
    test_images, test_labels = load(folder, "t10k")
    model = Net()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    begin = time.perf_counter()
    accuracy = 0.0
    for epoch in range(1, options.epochs + 1):
        model.train()
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            right = sum(int((model(x).argmax(1) == y).sum())
                        for x, y in zip(test_images.split(1000), test_labels.split(1000)))
        accuracy = right / len(test_labels)
        print(f"epoch {epoch}: accuracy {accuracy:.4f}, {time.perf_counter() - begin:.1f} s", flush=True)
        if accuracy >= options.accuracy:
            break
    print(json.dumps({"program": "mnist-example", "torch": torch.__version__, "epochs": epoch,
                      "accuracy": accuracy}))
    sys.exit(0 if accuracy >= options.accuracy else 1)


if __name__ == "__main__":
    main()
