"""The README's table of failures: what the tests have found."""

import re

from job import harness
from readme_table import Table, cells, row

HEAD = """| What happens | Rehearse it with | `mpirun` gives | `launch/train` | Ends after | What is said |
| --- | --- | ---: | ---: | ---: | --- |
"""


def failures(readme):
    return Table(readme, "failures", HEAD)


def line(case, run):
    """One row; the time of a run and its message may be missing."""
    message = run.message if run and run.message else ""
    if not case.message:
        message = "nothing: the run goes on"
    seconds = f"{run.seconds:.0f} s" if run and case.code else ""
    return row((case.name, case.command(), case.code, case.launched, seconds, message))


def write(readme, cases, runs):
    """Renews the rows of what has run; of what has not they stay."""
    table = failures(readme)
    known = table.rows()
    lines = []
    for case in cases:
        run = runs.get(case.name)
        lines.append(line(case, run) if run else known.get(case.name, line(case, None)))
    table.write(lines)


def known_cells(text, with_message):
    """What must be equal: all but the time, and the message only of a case that has just run."""
    text = re.sub(r"-?0x[0-9a-f.]+p[-+]\d+ \([^)]*\)", "VALUE", text)  # other processors, other last bits
    found = cells(text)
    return found[:4] + (found[5:] if with_message else [])


def faults(cases, runs, whole):
    """Where the README's table differs from the cases, which may be the whole, and from their runs."""
    readme = harness.SOURCE / "README.md"
    try:
        known = failures(readme).rows()
    except ValueError as error:
        return [str(error)]
    found = []
    if whole and list(known) != [case.name for case in cases]:
        found.append(f"{readme}: the table's failures are\n  {list(known)}\nand the tests'\n"
                     f"  {[case.name for case in cases]}")
    for case in cases:
        run = runs.get(case.name)
        shown, expected = (known_cells(text, run is not None) for text in
                           (known.get(case.name, ""), line(case, run)))
        if shown != expected:
            found.append(f"{readme}: the table says\n  {shown}\nand the test found\n  {expected}")
    if found:
        found.append(f"tests/faults/faults_test.py --write {readme.name} puts it right")
    return found
