#!/usr/bin/env python3
"""Pages in headless Chromium: nothing overflows, nothing is too small to read, nothing is asked of a
network, and the console stays empty; on a desk, on a phone, light, dark and printed.

page_test.py [--keep DIR]    --keep: screenshots stay in DIR
Exit code 77 when there is no Chromium.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import browser
from page import Page

MAKER = Path(os.environ.get("LOCKSTEP_REPORT_PAGE", "build/tests/report/report_page"))
MNIST = Path(__file__).resolve().parents[2] / "data" / "mnist"
KEEP = None
WIDTHS = (1280, 768, 390, 320)

# What is wider than its place, or out of the window; containers that scroll are asked as a whole.
OVERFLOWING = """(() => {
  const faults = [], width = document.documentElement.clientWidth;
  const scrolls = e => e.closest('.scroll');
  const name = e => `${e.tagName}.${e.getAttribute('class')} '${(e.textContent || '').trim().slice(0, 40)}'`;
  if (document.documentElement.scrollWidth > width) faults.push(`page: ${document.documentElement.scrollWidth} > ${width}`);
  for (const e of document.body.querySelectorAll('*')) {
    if (e.closest('.sr') || e.namespaceURI.endsWith('svg') && e.tagName !== 'svg') continue;
    const box = e.getBoundingClientRect();
    const inside = scrolls(e) && !e.classList.contains('scroll');
    if (!inside && (box.right > width + 0.5 || box.left < -0.5)) faults.push(`${name(e)}: ${box.left} to ${box.right}`);
    if (!e.classList.contains('scroll') && e.tagName !== 'svg' && e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)
      faults.push(`${name(e)}: content ${e.scrollWidth} in ${e.clientWidth}`);
  }
  return faults.slice(0, 20);
})()"""

# Text of drawings that leaves them or covers other text of theirs.
DRAWINGS = """(() => {
  const faults = [];
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll('text')];
    const boxes = texts.map(t => t.getBoundingClientRect());
    boxes.forEach((b, i) => {
      const word = texts[i].textContent;
      if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
        faults.push(`${svg.textContent.slice(0, 20)}: '${word}' leaves the drawing`);
      for (let j = 0; j < i; ++j) {
        const o = boxes[j];
        const w = Math.min(b.right, o.right) - Math.max(b.left, o.left), h = Math.min(b.bottom, o.bottom) - Math.max(b.top, o.top);
        if (w > 1 && h > 1) faults.push(`${svg.textContent.slice(0, 20)}: '${word}' covers '${texts[j].textContent}'`);
      }
    });
  }
  return faults;
})()"""

# The smallest text, in pixels on the screen: drawings are scaled.
SMALLEST = """(() => {
  let smallest = [1000, ''];
  for (const e of document.body.querySelectorAll('*')) {
    if (e.closest('.sr') || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    let size = parseFloat(getComputedStyle(e).fontSize);
    const svg = e.closest('svg');
    if (svg && (e.tagName === 'title' || e.tagName === 'desc')) continue;
    if (svg) size *= svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    if (size < smallest[0]) smallest = [size, e.textContent.trim().slice(0, 40)];
  }
  return smallest;
})()"""

# The least contrast of text to what lies behind it (WCAG 2.2), of plain backgrounds.
CONTRAST = """(() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { let c = [0, 0, 0, 0]; const chain = []; for (let x = e; x; x = x.parentElement) chain.unshift(x);
    let base = parse(getComputedStyle(document.documentElement).backgroundColor);
    for (const x of chain) base = over(parse(getComputedStyle(x).backgroundColor), base); return base; };
  let least = [100, ''];
  for (const e of document.body.querySelectorAll('*')) {
    if (e.closest('svg') && e.tagName !== 'text' || e.closest('.nothing')) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const style = getComputedStyle(e), back = behind(e);
    const ink = over(parse(e.closest('svg') ? getComputedStyle(e.parentElement).fill : style.color), back);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least[0]) least = [ratio, `${e.textContent.trim().slice(0, 40)} ${style.color} on ${back}`];
  }
  return least;
})()"""


def make(*arguments):
    return subprocess.run([str(MAKER), *map(str, arguments)], check=True, capture_output=True, text=True)


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = Path(tempfile.mkdtemp(prefix="lockstep-pages-"))
        # A name that would be markup, and hosts and paths with it.
        runs = [cls.directory / name for name in ("plain", "a<b>&amp;'\"é", "unfinished-run-with-a-long-name-that-has-no-blank")]
        make("sample", runs[0], 1, 6, 6, 2)
        make("sample", runs[1], 2, 12, 12, 40)
        make("sample", runs[2], 3, 2, 30, 1)
        bare = cls.directory / "bare"
        bare.mkdir()
        (bare / "config.ini").write_text("# Model and machine\nmodel = lenet\n")
        (bare / "metrics.jsonl").write_text("")
        many = [cls.directory / f"many-{i}" for i in range(9)]
        for seed, run in enumerate(many):
            make("sample", run, seed + 10, 3, 3, 2)
        cls.pages = {}
        for name, gnuplot, of in (("plain", "gnuplot", runs[:1]), ("hostile", "gnuplot", runs[1:2]),
                                  ("unfinished", "gnuplot", runs[2:]), ("compared", "gnuplot", runs),
                                  ("bare", "gnuplot", [bare]), ("many", "gnuplot", many),
                                  ("without-gnuplot", "/no/gnuplot", runs[:1])):
            cls.pages[name] = cls.directory / f"{name}.html"
            make("page", cls.pages[name], gnuplot, *of)
        for name, gnuplot, *data in (("data", "gnuplot", MNIST),
                                     ("data-damaged", "gnuplot", cls.damaged_data(), MNIST),
                                     ("data-unlabelled", "/no/gnuplot", cls.unlabelled_data())):
            cls.pages[name] = cls.directory / f"{name}.html"
            make("data", cls.pages[name], gnuplot, *data)
        cls.browser = browser.Browser(browser.find())

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        shutil.rmtree(cls.directory)

    @classmethod
    def damaged_data(cls):
        """Rows in which much is wrong, in a file with a name that would be markup."""
        path = cls.directory / "<i>rows & more in a file with a name that is long enough to need many lines.csv"
        rows = [[i % 3, *([i % 5 * 50] * 784)] for i in range(40)]
        for row in rows[10:25]:
            row[-1] = "<b>300</b>"
        path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
        return path

    @classmethod
    def unlabelled_data(cls):
        """Three wide images in colour."""
        path = cls.directory / "wide-images"
        path.write_bytes(struct.pack(">5I", 0x804, 3, 3, 20, 90) + bytes(i * 7 % 256 for i in range(3 * 3 * 20 * 90)))
        return path

    def each(self):
        for name, path in self.pages.items():
            with self.subTest(page=name):
                yield name, path

    def test_html(self):
        for name, path in self.each():
            page = Page(path.read_text())
            self.assertEqual(page.faults, [])
            self.assertLess(path.stat().st_size, 2_000_000)

    def test_nothing_overflows(self):
        for name, path in self.each():
            for width in WIDTHS:
                with self.subTest(width=width):
                    self.browser.show(path, width)
                    self.assertEqual(self.browser.evaluate(OVERFLOWING), [])
                    self.assertEqual(self.browser.evaluate(DRAWINGS), [])
                    self.assertEqual(self.browser.complaints, [])
                    elsewhere = [url for url in self.browser.requests if not url.startswith(("file:", "data:"))]
                    self.assertEqual(elsewhere, [])
                    self.assertEqual(len([url for url in self.browser.requests if url.startswith("file:")]), 1)

    def test_the_confusion_matrix_fits_on_a_phone(self):
        self.browser.show(self.pages["plain"], 390)
        fits = "(e => e.scrollWidth <= e.clientWidth)(document.querySelector('.confusion').parentElement)"
        self.assertTrue(self.browser.evaluate(fits))

    def test_text_can_be_read(self):
        for name, path in self.each():
            for width in WIDTHS:
                for dark in (False, True):
                    with self.subTest(width=width, dark=dark):
                        self.browser.show(path, width, dark=dark)
                        size, text = self.browser.evaluate(SMALLEST)
                        self.assertGreaterEqual(size, 9 if width > 320 else 8, text)
                        ratio, text = self.browser.evaluate(CONTRAST)
                        self.assertGreaterEqual(ratio, 4.5, text)

    def test_dark_is_dark_and_paper_is_white(self):
        light = "getComputedStyle(document.documentElement).backgroundColor"
        path = self.pages["plain"]
        for dark, media, color in ((False, "", "rgb(255, 255, 255)"), (True, "", "rgb(20, 23, 27)"),
                                   (True, "print", "rgb(255, 255, 255)")):
            self.browser.show(path, 1280, dark=dark, media=media)
            self.assertEqual(self.browser.evaluate(light), color)

    def test_paper_is_laid_out_like_a_desk(self):
        """An A4 page within its margins is as narrow as a tablet."""
        columns = "getComputedStyle(document.querySelector('{}')).gridTemplateColumns.split(' ').length"
        for name, path in self.each():
            self.browser.show(path, 688, media="print")
            # What a screen scrolls would be cut off; a table of many runs is too wide for any paper.
            if name != "many":
                self.assertEqual(self.browser.evaluate(OVERFLOWING.replace("e.closest('.scroll')", "false")), [])
            self.assertEqual(self.browser.evaluate(DRAWINGS), [])
        self.browser.show(self.pages["plain"], 688, media="print")
        for place, wanted in ((".tiles", 4), (".figures", 2), (".mistakes", 6)):
            self.assertEqual(self.browser.evaluate(columns.format(place)), wanted)

    def test_digits_are_crisp(self):
        self.browser.show(self.pages["plain"], 390)
        script = """[...document.querySelectorAll('.mistakes img')].map(i =>
            [i.naturalWidth, i.naturalHeight, getComputedStyle(i).imageRendering, i.alt.length > 10])"""
        self.assertEqual(self.browser.evaluate(script), [[28, 28, "pixelated", True]] * 24)

    def test_images_of_a_data_set_are_laid_out_in_tens(self):
        columns = "getComputedStyle(document.querySelector('{}')).gridTemplateColumns.split(' ').length"
        for width, media, rows in ((1280, "", 2), (390, "", 1), (688, "print", 2)):
            self.browser.show(self.pages["data"], width, media=media)
            self.assertEqual(self.browser.evaluate(columns.format(".class")), rows)
            self.assertEqual(self.browser.evaluate(columns.format(".row")), 10)
        self.assertEqual(self.browser.evaluate("""[...document.querySelectorAll('.row img')].filter(i =>
            i.naturalWidth === 28 && i.naturalHeight === 28 && i.alt.length > 10).length"""), 200)
        self.browser.show(self.pages["data-unlabelled"], 1280)
        self.assertEqual(self.browser.evaluate(
            "[...document.querySelectorAll('.row img')].map(i => [i.naturalWidth, i.naturalHeight])"), [[45, 10]] * 6)

    if "--keep" in sys.argv:
        def test_screenshots(self):
            for name, path in self.each():
                for width in (1280, 390):
                    for dark in (False, True):
                        self.browser.show(path, width, dark=dark, scale=1 if width > 500 else 2)
                        self.browser.screenshot(KEEP / f"{name}-{width}-{'dark' if dark else 'light'}.png")
                self.browser.print_pdf(KEEP / f"{name}.pdf")


if __name__ == "__main__":
    if browser.find() is None:
        print("skipped: page_test: there is no Chromium (Debian: chromium)", file=sys.stderr)
        sys.exit(77)
    if "--keep" in sys.argv:
        KEEP = Path(sys.argv[sys.argv.index("--keep") + 1])
        KEEP.mkdir(parents=True, exist_ok=True)
    unittest.main(argv=sys.argv[:1], verbosity=2)
