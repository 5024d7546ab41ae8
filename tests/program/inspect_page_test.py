"""The page that lockstep inspect makes of a data set."""

import os
import resource
import signal
import sys
import unittest

from harness import SOURCE, main, read_idx, write_csv, write_small_mnist
from inspection import MNIST, SIZE, Inspection

sys.path.insert(0, str(SOURCE / "tests" / "report"))
import browser  # noqa: E402
import page_test  # noqa: E402
from page import Page  # noqa: E402


class PageTest(Inspection):
    def page(self, *arguments, code=0, **options):
        self.place = self.directory / "pages" / "mine"
        result = self.inspect(*arguments, "--out", self.place, code=code, **options)
        self.html = (self.place / "data.html").read_text()
        self.assertIn(f"page: {self.place}/data.html", result.stderr)
        self.assertEqual([path.name for path in self.place.iterdir()], ["data.html"])
        page = Page(self.html)
        self.assertEqual(page.faults, [])
        self.assertLess(len(self.html), 2_000_000)
        return page

    def test_every_number_is_that_of_the_files(self):
        page = self.page(MNIST)
        parts = []
        for name in ("train", "t10k"):
            pixels, labels = (read_idx(f"{name}-{kind}-ubyte")[1] for kind in ("images-idx3", "labels-idx1"))
            mean = sum(pixels) / len(pixels)
            counts = [pixels.count(bytes([value])) for value in range(256)]
            squares = sum(value * value * count for value, count in enumerate(counts)) / len(pixels)
            parts.append(([labels.count(bytes([c])) for c in range(10)], [mean, (squares - mean * mean) ** 0.5, 0, 255,
                                                                        counts[0] / len(pixels), 0]))
        self.assertEqual(page.cells["frequencies"][1:11], [list(pair) for pair in zip(*(part[0] for part in parts))])
        self.assertEqual(page.cells["frequencies"][11], [60000, 10000])
        for row, values in zip(page.cells["pixels"][1:], zip(*(part[1] for part in parts))):
            for shown, value in zip(row, values):
                self.assertAlmostEqual(shown, value, delta=1e-9)
        self.assertEqual(page.cells["duplicates"][1:], [[60000, 0, 0], [10000, 0, 0], [6000, 0, 0], [10000, 0, 0]])
        self.assertEqual({name: page.values[name] for name in ("training.images", "test.images", "damaged", "repeated",
                                                               "validation.same", "test.same")},
                         {"training.images": 60000, "test.images": 10000, "damaged": 0, "repeated": 0,
                          "validation.same": 0, "test.same": 0})
        for part in self.facts(MNIST)["parts"]:
            self.assertIn(part["sha256"], page.text)

    @unittest.skipUnless(browser.find(), "there is no Chromium (Debian: chromium)")
    def test_images_are_those_of_the_files(self):
        self.page(MNIST, "--seed", 5)
        _, pixels = read_idx("train-images-idx3-ubyte")
        _, labels = read_idx("train-labels-idx1-ubyte")
        tab = browser.Browser(browser.find())
        self.addCleanup(tab.close)
        for width in (1280, 390):
            tab.show(self.place / "data.html", width)
            self.assertEqual(tab.evaluate(page_test.OVERFLOWING), [])
            self.assertEqual(tab.evaluate(page_test.DRAWINGS), [])
            self.assertEqual(tab.complaints, [])
        images = tab.evaluate("""[...document.querySelectorAll('.row img')].map(image => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
            return [image.alt, [...rgba].filter((_, i) => i % 4 === 0)];
        })""")
        stored, distorted = ([entry for entry in images if entry[0].startswith(name)]
                             for name in ("Training image", "Distorted training image"))
        self.assertEqual((len(stored), len(distorted)), (100, 100))
        for (text, shown), (distorted_text, changed) in zip(stored, distorted):
            words = text.replace(",", "").split()
            image, label = int(words[2]) - 1, int(words[4])
            self.assertEqual(labels[image], label)
            original = list(pixels[image * SIZE:(image + 1) * SIZE])
            self.assertEqual(shown, original, text)
            self.assertEqual(distorted_text, "Distorted t" + text[1:])
            self.assertNotEqual(changed, original)
            # A digit moves and turns; its ink stays, but for what leaves the image.
            self.assertLess(abs(sum(changed) - sum(original)), 0.4 * sum(original), text)

    def png_of(self, alt):
        """The picture with that description, as the page has it."""
        before = self.html[:self.html.index(f'alt="{alt}"')]
        return before[before.rindex("base64,"):].partition('"')[0]

    def test_settings_of_training_decide_on_the_distortion(self):
        data = write_small_mnist(self.directory / "data", training=200, test=20)
        name = "Distorted training image 1, class 5"
        self.page(data)
        first = self.png_of(name)
        self.page(data)
        self.assertEqual(self.png_of(name), first)
        self.page(data, "--seed", 2)
        self.assertNotEqual(self.png_of(name), first)
        config = self.directory / "my.ini"
        config.write_text("rotation = 33\nzoom = 0\nshift-x = 0\nshift-y = 0.05\ndata = elsewhere\ntest-data = gone\n")
        page = self.page(data, "--config", config)
        self.assertIn("rotated by up to 33 degrees, zoomed by up to 0 %, shifted by up to 0 % of the width and 5 %",
                      page.text)
        self.assertNotEqual(self.png_of(name), first)
        still = self.page(data, "--rotation", 0, "--zoom", 0, "--shift-x", 0, "--shift-y", 0)
        self.assertIn("augmentation is off", still.text)
        self.assertEqual(self.html.count("data:image/png"), 100)
        self.assertIn("augmentation is off", self.page(data, "--augment", "no").text)
        self.assertIn("needs --out", self.inspect(data, "--rotation", 3, code=64).stderr)

    def test_damage_and_duplicates_are_on_the_page(self):
        _, pixels = read_idx("train-images-idx3-ubyte")
        labels = bytearray(read_idx("train-labels-idx1-ubyte")[1][:60])
        images = [pixels[i * SIZE:(i + 1) * SIZE] for i in range(60)]
        images[30] = images[4]
        labels[30] = (labels[4] + 1) % 10
        csv = write_csv(self.directory / "rows.csv", b"".join(images), labels)
        lines = csv.read_text().splitlines()
        lines[60] = lines[60] + ",1"
        csv.write_text("\n".join(lines) + "\n")
        page = self.page(csv, code=65)
        self.assertIn(f"{csv}: line 61 has 786 columns, expected 785", page.text)
        self.assertIn(f"image 31 is image 5, with another label: {labels[30]} and {labels[4]}", page.text)
        self.assertEqual((page.values["images.images"], page.values["damaged"], page.values["repeated"]), (59, 1, 1))
        self.assertEqual(page.cells["duplicates"][1], [59, 1, 1])

    def test_without_gnuplot(self):
        data = write_small_mnist(self.directory / "data", training=50, test=20)
        page = self.page(data, env={**os.environ, "PATH": str(self.directory)})
        self.assertIn("gnuplot is not installed (Debian: gnuplot-nox)", page.text)
        self.assertNotIn("<svg", self.html)
        self.assertEqual(self.html.count("data:image/png"), 100)

    def test_a_page_that_cannot_be_written(self):
        data = write_small_mnist(self.directory / "data", training=50, test=20)
        file = self.directory / "file"
        file.write_text("mine\n")
        for place in (file, file / "page", "/dev/null/page", "/proc/page"):
            for more in ((), ("--json",)):
                result = self.inspect(data, "--out", place, *more, code=73)
                self.assertIn(f"error: {place}", result.stderr)
                self.assertEqual(result.stdout, "")
        self.assertEqual(file.read_text(), "mine\n")
        # An old page stays until the new one is whole.
        self.page(data)
        old = self.html

        def no_room():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

        result = self.inspect(data, "--seed", 9, "--out", self.place, code=74, preexec_fn=no_room)
        self.assertIn(f"error: {self.place}", result.stderr)
        self.assertEqual((self.place / "data.html").read_text(), old)
        self.assertEqual([path.name for path in self.place.iterdir()], ["data.html"])
        (self.place / "data.html").unlink()
        (self.place / "data.html").mkdir()
        self.assertIn("data.html", self.inspect(data, "--out", self.place, code=73).stderr)
        self.assertEqual([path.name for path in self.place.iterdir()], ["data.html"])


if __name__ == "__main__":
    main()
