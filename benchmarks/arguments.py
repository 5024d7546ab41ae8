"""Types of command-line arguments that benchmarks check before they measure anything."""
import argparse
import os
import pathlib
import shutil


def whole(text):
    """A whole number, at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, at least 1")
    return number


def whole_numbers(text):
    """Some of them, separated by commas: in ascending order, each once."""
    return sorted({whole(word) for word in text.split(",")})


def new_file(text):
    """Where a file can be written, or written anew."""
    path = pathlib.Path(text)
    if not text or path.is_dir() or not os.access(path.resolve().parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r}: cannot be written")
    return path


def picture(text):
    """The same for what gnuplot is to draw."""
    path = new_file(text)
    if path.suffix not in (".svg", ".png"):
        raise argparse.ArgumentTypeError(f"{text}: expected a name that ends in .svg or .png")
    if shutil.which("gnuplot") is None:
        raise argparse.ArgumentTypeError("there is no gnuplot")
    return path
