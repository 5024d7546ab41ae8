#!/usr/bin/env python3
"""A part of a page as a PNG, as the README shows them. Needs Chromium.

picture.py PAGE OUT SELECTOR [WIDTH]    all elements that the CSS selector finds, and what lies between
                                        them, in a window of so many pixels; default 1080
"""

import base64
import sys

import browser

MARGIN = 24
EXTENT = """(() => {
  const boxes = [...document.querySelectorAll(%r)].map(e => e.getBoundingClientRect());
  return boxes.length && [Math.min(...boxes.map(b => b.top)), Math.max(...boxes.map(b => b.bottom))];
})()"""


def main(page, out, selector, width=1080):
    tab = browser.Browser(browser.find() or sys.exit("there is no Chromium (Debian: chromium)"))
    try:
        tab.show(page, int(width))
        extent = tab.evaluate(EXTENT % selector)
        if not extent:
            sys.exit(f"{page}: nothing is {selector}")
        top = max(extent[0] - MARGIN, 0)
        clip = {"x": 0, "y": top, "width": int(width), "height": extent[1] + MARGIN - top, "scale": 1}
        picture = tab.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        with open(out, "wb") as file:
            file.write(base64.b64decode(picture["data"]))
    finally:
        tab.close()


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
        sys.exit()
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
