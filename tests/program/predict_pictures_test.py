"""lockstep predict on pictures as an imaging program writes them, made of the test images: several sizes, ways to
enlarge, colours and formats, and a checkpoint of the recipe after two epochs. At least 98 % are right in each
form, and of each the share is printed. Skipped where no Python has Pillow (LOCKSTEP_PILLOW_PYTHON names one).

LOCKSTEP_PREDICT_RUN: a run directory, instead of a training. LOCKSTEP_PREDICT_IMAGES: how many of the 10,000
test images, chosen at random but always the same ones; default 500."""

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import SOURCE, ProgramTest, find_python, main, read_idx, run, skip_all, train

# Writes the images of a file, 784 bytes each, as pictures into a directory for each size and filter.
PAINTER = """
import random, sys
from pathlib import Path
from PIL import Image, ImageOps
file, form, *directories = sys.argv[1:]
content, noise = Path(file).read_bytes(), random.Random(1)

def inked(plane, paper, ink):
    return ImageOps.colorize(plane, paper, ink)

def see_through(plane, ink):
    picture = Image.new("RGBA", plane.size, ink)
    picture.putalpha(plane)
    return picture

def aside(plane):
    w, h = plane.size
    sheet = Image.new("L", (2 * w + w // 3, 2 * h), 255)
    sheet.paste(ImageOps.invert(plane), (noise.randrange(w), noise.randrange(h)))
    return sheet

def uneven(plane):
    w, h = plane.size
    shade = Image.linear_gradient("L").resize((w, h)).point(lambda v: 190 + v // 8)
    grain = Image.effect_noise((w, h), 12).point(lambda v: v - 128 + 20)
    paper = Image.merge("RGB", [Image.blend(shade, grain, 0.1)] * 3)
    return Image.composite(Image.new("RGB", (w, h), (40, 40, 60)), paper, plane)

FORMS = {
    "as it is": ("png", lambda p: p),
    "inverted": ("png", ImageOps.invert),
    "as it is, RGB": ("png", lambda p: p.convert("RGB")),
    "dark ink, light paper": ("png", lambda p: inked(p, (250, 245, 225), (25, 35, 90))),
    "yellow on blue": ("png", lambda p: inked(p, (20, 30, 120), (250, 240, 40))),
    "red on green": ("png", lambda p: inked(p, (60, 160, 70), (200, 40, 40))),
    "red on blue, equally bright": ("png", lambda p: inked(p, (60, 110, 230), (225, 70, 70))),
    "black ink on nothing (RGBA)": ("png", lambda p: see_through(p, (0, 0, 0, 0))),
    "white ink on nothing (RGBA)": ("png", lambda p: see_through(p, (255, 255, 255, 0))),
    "grey and opaque (LA)": ("png", lambda p: ImageOps.invert(p).convert("LA")),
    "palette of 16 colours": ("png", lambda p: inked(p, "white", "navy").quantize(16)),
    "16 bits": ("png", lambda p: p.convert("I").point(lambda v: v * 257).convert("I;16")),
    "black and white only": ("png", lambda p: ImageOps.invert(p).point(lambda v: 255 * (v > 127)).convert("1")),
    "somewhere on a larger sheet": ("png", aside),
    "on shaded, grainy paper": ("png", uneven),
    "JPEG of quality 90": ("jpg", ImageOps.invert),
    "JPEG of quality 50, ink on paper": ("jpg", lambda p: inked(p, (250, 245, 225), (25, 35, 90))),
}
suffix, make = FORMS[form]
options = {"quality": int(form.split("quality ")[1][:2])} if suffix == "jpg" else {"compress_level": 1}
for directory in map(Path, directories):
    directory.mkdir()
    side, filter = directory.name.split("-")
    for n in range(len(content) // 784):
        plane = Image.frombytes("L", (28, 28), content[784 * n:784 * (n + 1)])
        if filter:
            plane = plane.resize((int(side), int(side)), getattr(Image.Resampling, filter.upper()))
        make(plane).save(directory / f"{n:05}.{suffix}", **options)
"""
PYTHON = find_python("PIL.Image", os.environ.get("LOCKSTEP_PILLOW_PYTHON"), "python3")
FORMS = [line.split('"')[1] for line in PAINTER.split("FORMS = {\n")[1].split("\n}")[0].splitlines()]
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
GEOMETRIES = ["28-"] + [f"{side}-{name}" for side in (56, 200) for name in FILTERS]
LEAST = 0.98


class PredictPicturesTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        pixels, labels = (read_idx(f"t10k-{what}-ubyte")[1] for what in ("images-idx3", "labels-idx1"))
        count = int(os.environ.get("LOCKSTEP_PREDICT_IMAGES", 500))
        chosen = sorted(random.Random(1).sample(range(len(labels)), count))
        cls.pixels = b"".join(pixels[784 * n:784 * (n + 1)] for n in chosen)
        cls.labels = [labels[n] for n in chosen]
        scratch = Path(tempfile.mkdtemp(prefix="lockstep-test-"))
        cls.addClassCleanup(shutil.rmtree, scratch, ignore_errors=True)
        cls.shared = Path(os.environ.get("LOCKSTEP_PREDICT_RUN", scratch / "run"))
        if not cls.shared.exists():
            result = train(2, cls.shared, "--config", SOURCE / "configs" / "digits.ini", "--epochs", 2, timeout=3000)
            assert result.returncode == 0, result.stderr

    def shares_right(self, form):
        pixels, folders = self.directory / "pixels", [self.directory / geometry for geometry in GEOMETRIES]
        pixels.write_bytes(self.pixels)
        # Each half of the sizes by a process of its own.
        painters = [subprocess.Popen([PYTHON, "-c", PAINTER, pixels, form, *half])
                    for half in (folders[::2], folders[1::2])]
        self.assertEqual([painter.wait() for painter in painters], [0, 0])
        result = self.expect(run(2, "predict", "--checkpoint", self.shared, "--threads", 1, "--csv", *folders,
                                 timeout=1200), 0)
        for folder in folders:
            shutil.rmtree(folder)
        rows = [tuple(map(int, line.split(","))) for line in result.stdout.splitlines()[1:]]
        count = len(self.labels)
        self.assertEqual([place for place, _ in rows], list(range(1, len(folders) * count + 1)))
        return [sum(label == true for (_, label), true in zip(rows[i * count:], self.labels)) / count
                for i in range(len(folders))]

    def test_at_least_98_percent_in_every_form(self):
        heads = [geometry.replace("-", " ").strip() for geometry in GEOMETRIES]
        print(f"\n| % of {len(self.labels)} right | " + " | ".join(heads) + " |\n|" + "---|" * (len(heads) + 1))
        for form in FORMS:
            shares = self.shares_right(form)
            print(f"| {form} | " + " | ".join(f"{100 * share:.2f}" for share in shares) + " |", flush=True)
            for head, share in zip(heads, shares):
                with self.subTest(form=form, size=head):
                    self.assertGreaterEqual(share, LEAST)


if __name__ == "__main__":
    if PYTHON is None:
        skip_all("no Python has Pillow (Debian: python3-pil); LOCKSTEP_PILLOW_PYTHON names one")
    main()
