"""Tables of the README that tests write, and compare with what they find."""

import os

END = "<!-- table end -->\n"


def row(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def cells(line):
    """What row() has joined; a | within a cell stays escaped."""
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split(" | ")]


def essence(found):
    """The essential part of a message that a pattern was found in: its groups, or without any all that it matches."""
    return " ... ".join(found.groups() or [found.group()])


class Table:
    """The one between "<!-- table: NAME -->" and "<!-- table end -->"; the first cell of a row is its name."""

    def __init__(self, readme, name, head):
        """head: the two lines of Markdown above the rows."""
        self.readme, self.head = readme, head
        self.begin = f"<!-- table: {name} -->\n"

    def split(self):
        """The text before the table, the table, and the text after it."""
        text = self.readme.read_text()
        if text.count(self.begin) != 1 or END not in text.partition(self.begin)[2]:
            raise ValueError(f'{self.readme}: expected "{self.begin.strip()}" once, and a "{END.strip()}" after it')
        before, _, rest = text.partition(self.begin)
        inside, _, after = rest.partition(END)
        return before + self.begin, inside, END + after

    def rows(self):
        """The lines of the table by name, in their order."""
        lines = self.split()[1].strip("\n").splitlines(keepends=True)[2:]
        return {cells(line)[0]: line.rstrip("\n") + "\n" for line in lines}

    def write(self, rows):
        """Puts these lines in place of those that are there."""
        before, _, after = self.split()
        temporary = self.readme.with_name(self.readme.name + ".tmp")
        temporary.write_text(f"{before}\n{self.head}{''.join(rows)}\n{after}")
        os.replace(temporary, self.readme)
