#!/usr/bin/env python3
"""The recipe in its original stack: Keras on TensorFlow, with ImageDataGenerator and RMSprop.

The network, global batch, optimizer and augmentation of configs/digits.ini; one process with as many
threads as the other programs have in all, as Keras is used on one machine. Prints images/s of each
window of steps after the warm-up, their median, and as the last line one JSON object.

  --as-first-written   TensorFlow's defaults, which use oneDNN only on CPUs with instructions for
                       neural networks
  --best               oneDNN on any CPU (default)
"""
import argparse
import gzip
import json
import os
import pathlib
import statistics
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--best", action="store_true", default=True)
    mode.add_argument("--as-first-written", dest="best", action="store_false")
    parser.add_argument("--threads", type=int, default=2, help="of the process")
    parser.add_argument("--batch-size", type=int, default=86)
    parser.add_argument("--window-steps", type=int, default=20)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--warmup-windows", type=int, default=2)
    parser.add_argument("--data", default=str(ROOT / "data" / "mnist"), help="folder with gzip IDX files")
    return parser.parse_args()


def read_images_and_labels(folder, numpy):
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        images = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        labels = numpy.frombuffer(file.read(), numpy.uint8, offset=8)
    return images[:54000].astype("float32") / 255, labels[:54000]


def build(keras):
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 5, padding="same", activation="relu"),
        layers.Conv2D(32, 5, padding="same", activation="relu"),
        layers.MaxPool2D(2),
        layers.Dropout(0.25),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPool2D(2),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax")])
    assert model.count_params() == 887530
    model.compile(optimizer=keras.optimizers.RMSprop(learning_rate=1e-3, rho=0.9, epsilon=1e-8),
                  loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def main():
    options = parse()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if options.best:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    else:
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
    import numpy
    import tensorflow
    tensorflow.config.threading.set_intra_op_parallelism_threads(options.threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    keras = tensorflow.keras
    keras.utils.set_random_seed(1)

    class Windows(keras.callbacks.Callback):
        """The rate of each window of steps, within one fit()."""

        def __init__(self):
            super().__init__()
            self.rates, self.steps, self.begin, self.loss = [], 0, time.perf_counter(), None

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            self.loss = float(logs["loss"])
            if self.steps % options.window_steps == 0:
                now = time.perf_counter()
                rate = options.window_steps * options.batch_size / (now - self.begin)
                self.begin = now
                warm = len(self.rates) >= options.warmup_windows
                print(f"{rate:9.1f} images/s  loss {self.loss:.4f}{'' if warm else '  (warm-up)'}", flush=True)
                self.rates.append(rate)
            if self.steps == options.window_steps * (options.warmup_windows + options.windows):
                self.model.stop_training = True

    images, labels = read_images_and_labels(pathlib.Path(options.data), numpy)
    generator = keras.preprocessing.image.ImageDataGenerator(
        rotation_range=10, zoom_range=0.1, width_shift_range=0.1, height_shift_range=0.1)
    windows = Windows()
    steps = options.window_steps * (options.warmup_windows + options.windows)
    build(keras).fit(generator.flow(images, keras.utils.to_categorical(labels, 10), batch_size=options.batch_size),
                     epochs=1, steps_per_epoch=steps, verbose=0, callbacks=[windows])
    rates = windows.rates[options.warmup_windows:]
    print(f"{statistics.median(rates):9.1f} images/s, median of {len(rates)} windows")
    print(json.dumps({
        "program": "keras", "mode": "best" if options.best else "as-first-written",
        "keras": keras.__version__, "tensorflow": tensorflow.__version__,
        "threads": options.threads, "batch_size": options.batch_size, "window_steps": options.window_steps,
        "images_per_second": statistics.median(rates), "windows": rates, "last_loss": windows.loss}))


if __name__ == "__main__":
    main()
