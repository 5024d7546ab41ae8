"""The README's second table of failures: those that other tests than tests/faults go through.

A test calls note() with what it has seen. The README's row must say the same, but for the time; where ROWS names a
file, which tests/faults/more_failures does, the row goes there instead.
"""

import json
import os
import re
import sys
from pathlib import Path

import harness
from readme_table import Table, cells, essence, row

ROWS = "LOCKSTEP_TEST_FAILURE_ROWS"
README = harness.SOURCE / "README.md"
HEAD = """| What happens | Test | Exit code | Ends after | What is said |
| --- | --- | ---: | ---: | --- |
"""


def table(readme=README):
    return Table(readme, "more failures", HEAD)


def shape(text):
    """As harness.shape, and without the places and the steps, which such a failure does not choose."""
    text = re.sub(r"/\S*/lockstep-test-[^/\s]+/", "", harness.shape(text))
    text = re.sub(r"\bstep-\d{8}(-\d+)?\b", "step-N", text)
    return re.sub(r"\b(step|epoch|operation|process) \d+\b", r"\1 N", text)


def command(test, options):
    """What runs just this test."""
    program = Path(sys.modules[type(test).__module__].__file__).resolve().relative_to(harness.SOURCE)
    return " ".join(map(str, (program, *options, test.id().removeprefix("__main__."))))


def find(pattern, text):
    """The essential part of what was said."""
    for line in map(shape, text.splitlines()):
        found = re.search(pattern, line)
        if found:
            return essence(found)
    raise AssertionError(f"nothing says '{pattern}':\n{text[-4000:]}")


def note(test, failure, code, *, seconds=None, said=None, text="", options=()):
    """A failure that this test has gone through. seconds: from it to the job's end, None if it goes on; said:
    regular expression of the essential message in the text; options: of the test's command."""
    message = find(said, text) if said else "nothing: the run goes on"
    after = "" if seconds is None else f"{seconds:.0f} s"
    line = row((failure, f"`{command(test, options)}`", code, after, message))
    if os.environ.get(ROWS):
        with open(os.environ[ROWS], "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return
    shown, expected = (cells(text) for text in (table().rows().get(cells(line)[0], ""), line))
    test.assertEqual(shown[:3] + shown[4:], expected[:3] + expected[4:],
                     f"{README.name} says otherwise; tests/faults/more_failures --write {README.name} puts it right")
