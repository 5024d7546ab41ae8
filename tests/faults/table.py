"""The README's table of failures: what the tests have found."""

import os
import re

BEGIN, END = "<!-- table: failures -->\n", "<!-- table end -->\n"
HEAD = """| What happens | Rehearse it with | `mpirun` gives | `launch/train` | Ends after | What is said |
| --- | --- | ---: | ---: | ---: | --- |
"""


def row(case, run):
    """One line, by its cells; the time of a run and its message may be missing."""
    message = run.message if run and run.message else ""
    if not case.message:
        message = "nothing: the run goes on"
    seconds = f"{run.seconds:.0f} s" if run and case.code else ""
    cells = (case.name, case.command(), str(case.code), str(case.launched), seconds, message)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def split(readme):
    """The text before the table, the table, and the text after it."""
    text = readme.read_text()
    if text.count(BEGIN) != 1 or END not in text.partition(BEGIN)[2]:
        raise ValueError(f"{readme}: expected \"{BEGIN.strip()}\" once, and a \"{END.strip()}\" after it")
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before + BEGIN, inside, END + after


def write(readme, cases, runs):
    before, _, after = split(readme)
    lines = "".join(row(case, runs.get(case.name)) for case in cases)
    temporary = readme.with_name(readme.name + ".tmp")
    temporary.write_text(f"{before}\n{HEAD}{lines}\n{after}")
    os.replace(temporary, readme)


def known_cells(line, with_message):
    """What must be equal: all but the time, and the message only of a case that has just run."""
    line = re.sub(r"-?0x[0-9a-f.]+p[-+]\d+ \([^)]*\)", "VALUE", line)  # other processors, other last bits
    cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    return cells[:4] + (cells[5:] if with_message else [])


def faults(readme, cases, runs):
    """Where the README's table differs from the cases, and from the runs that there were."""
    try:
        inside = split(readme)[1]
    except ValueError as error:
        return [str(error)]
    lines = inside.strip("\n").splitlines()[2:]
    found = []
    if len(lines) != len(cases):
        found.append(f"{readme}: {len(lines)} failures in the table, expected {len(cases)}")
    for line, case in zip(lines, cases):
        run = runs.get(case.name)
        shown, expected = (known_cells(text, run is not None) for text in (line, row(case, run)))
        if shown != expected:
            found.append(f"{readme}: the table says\n  {shown}\nand the test found\n  {expected}")
    if found:
        found.append(f"tests/faults/faults_test.py --write {readme.name} puts it right")
    return found
