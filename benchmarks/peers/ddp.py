#!/usr/bin/env python3
"""The work of configs/digits.ini in PyTorch's DistributedDataParallel (gloo, or nccl on GPUs): the yardstick
for lockstep.

The same network (887,530 parameters), global batch, optimizer and augmentation, MNIST in memory; one
process a rank. Prints images/s of each window of steps after the warm-up, their median, and as the last
line one JSON object.

  --as-first-written   what the tutorials show: NCHW, DDP's and RMSprop's defaults
  --best               what a careful user makes of it (default): channels_last after the first
                       convolution, gradients as views of the buckets, static graph, foreach RMSprop;
                       on GPUs also: images and their augmentation there, cuDNN's benchmark mode
  --device cuda        one GPU a rank; --tf32 lets convolutions and products round to 10 bits
                       (--as-first-written: convolutions do, as PyTorch has it), --compile
                       compiles the network
"""
import argparse
import gzip
import json
import math
import os
import pathlib
import statistics
import struct
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

ROTATION, ZOOM, SHIFT = math.radians(10), 0.1, 0.1
ROOT = pathlib.Path(__file__).resolve().parents[2]


def read_idx(path, dimensions):
    """uint8 tensor of a gzip IDX file with so many dimensions."""
    with gzip.open(path) as file:
        content = file.read()
    magic, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
    header = 4 * (1 + dimensions)
    if magic != 0x800 + dimensions or len(content) != header + math.prod(shape):
        raise SystemExit(f"{path}: not an IDX file of bytes with {dimensions} dimensions")
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8).view(shape)


class DigitsCnn(nn.Module):
    def __init__(self, channels_last):
        super().__init__()
        self.channels_last = channels_last
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv4 = nn.Conv2d(64, 64, 3, padding=1)
        self.dense1 = nn.Linear(64 * 7 * 7, 256)
        self.dense2 = nn.Linear(256, 10)
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def forward(self, x):
        x = self.conv1(x)
        if self.channels_last:  # does nothing to a tensor with one channel, so not before
            x = x.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.conv2(F.relu(x))), 2)
        x = F.dropout(x, 0.25, self.training)
        x = F.max_pool2d(F.relu(self.conv4(F.relu(self.conv3(x)))), 2)
        x = F.dropout(x, 0.25, self.training)
        x = F.dropout(F.relu(self.dense1(x.flatten(1))), 0.5, self.training)
        return self.dense2(x)


def augment(images):
    """Rotation, zoom and shift of each image, in one batched pass."""
    count = len(images)
    numbers = torch.rand(5, count, device=images.device) * 2 - 1
    angle, zoom_x, zoom_y, shift_x, shift_y = numbers.unbind()
    cos, sin = torch.cos(angle * ROTATION), torch.sin(angle * ROTATION)
    zoom_x, zoom_y = 1 + zoom_x * ZOOM, 1 + zoom_y * ZOOM
    shift_x, shift_y = 2 * SHIFT * shift_x, 2 * SHIFT * shift_y  # normalised: the image is 2 wide
    theta = torch.stack([cos * zoom_x, -sin * zoom_y, cos * shift_x - sin * shift_y,
                         sin * zoom_x, cos * zoom_y, sin * shift_x + cos * shift_y], 1)
    grid = F.affine_grid(theta.view(count, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def batches(images, labels, rank, options):
    """This rank's share of each global batch, epoch after epoch, made where the images are."""
    epoch = 0
    while True:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
        order = order.to(images.device)
        for begin in range(0, len(order) - options.batch_size + 1, options.batch_size):
            own = order[begin:begin + options.batch_size].chunk(options.ranks)[rank]
            yield augment(images[own].float().div_(255)), labels[own]
        epoch += 1


def work(rank, options, meeting_point):
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(options.best)
    on_gpu = options.device == "cuda"
    device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = options.best
        torch.backends.cudnn.allow_tf32 = options.tf32 or not options.best
        torch.backends.cuda.matmul.allow_tf32 = options.tf32
    dist.init_process_group("nccl" if on_gpu else "gloo", f"file://{meeting_point}", rank=rank,
                            world_size=options.ranks)
    torch.manual_seed(1)  # equal weights; after them each rank draws its own numbers
    model = DigitsCnn(channels_last=options.best).to(device)
    assert sum(p.numel() for p in model.parameters()) == 887530
    torch.manual_seed(1000 + rank)
    if options.best:
        ddp = DistributedDataParallel(model, gradient_as_bucket_view=True, static_graph=True)
    else:
        ddp = DistributedDataParallel(model)
    if options.compile:
        ddp = torch.compile(ddp)
    optimizer = torch.optim.RMSprop(ddp.parameters(), lr=1e-3, alpha=0.9, eps=1e-8,
                                    foreach=True if options.best else None)
    data = pathlib.Path(options.data)
    images = read_idx(data / "train-images-idx3-ubyte.gz", 3)[:54000].unsqueeze(1)
    labels = read_idx(data / "train-labels-idx1-ubyte.gz", 1)[:54000].long()
    if on_gpu and options.best:  # else only batches travel
        images, labels = images.to(device), labels.to(device)

    rates, losses = [], []
    source = batches(images, labels, rank, options)
    for window in range(-options.warmup_windows, options.windows):
        begin = time.perf_counter()
        for _ in range(options.window_steps):
            x, y = (tensor.to(device) for tensor in next(source))
            optimizer.zero_grad()
            loss = F.cross_entropy(ddp(x), y)
            loss.backward()
            optimizer.step()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        if window >= 0:
            rates.append(options.window_steps * options.batch_size / seconds)
        losses.append(loss.item())
        if rank == 0:
            note = "" if window >= 0 else "  (warm-up)"
            rate = options.window_steps * options.batch_size / seconds
            print(f"{rate:9.1f} images/s  loss {losses[-1]:.4f}{note}", flush=True)
    if rank == 0:
        print(f"{statistics.median(rates):9.1f} images/s, median of {len(rates)} windows")
        print(json.dumps({
            "program": "ddp", "mode": "best" if options.best else "as-first-written",
            "torch": torch.__version__, "ranks": options.ranks, "threads": options.threads,
            "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
            "tf32": options.tf32 or (on_gpu and not options.best), "compiled": options.compile,
            "batch_size": options.batch_size, "window_steps": options.window_steps,
            "images_per_second": statistics.median(rates), "windows": rates, "last_loss": losses[-1]}))
    dist.destroy_process_group()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--best", action="store_true", default=True)
    mode.add_argument("--as-first-written", dest="best", action="store_false")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--tf32", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    parser.add_argument("--batch-size", type=int, default=86, help="over all ranks")
    parser.add_argument("--window-steps", type=int, default=20)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--warmup-windows", type=int, default=2)
    parser.add_argument("--data", default=str(ROOT / "data" / "mnist"), help="folder with gzip IDX files")
    return parser.parse_args()


def main():
    options = parse()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (options, os.path.join(folder, "meet")), nprocs=options.ranks)


if __name__ == "__main__":
    main()
