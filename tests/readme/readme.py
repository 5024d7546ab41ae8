"""The README as a program reads it: its commands, the output it shows, the files it names.

A block fenced as ```sh test is run, line by line, by commands_test.py; a block fenced as ```text output
after it shows lines of what it prints. The commands of a block fenced as ```sh are only looked at.
"""
import json
import re
import shlex
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(.*)$")
EXPECTED_CODE = re.compile(r"#.*\bexits with (\d+)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# Programs of the system, whose options are not looked at.
SYSTEM = {"apt-get", "cd", "cmake", "cmp", "ctest", "env", "git", "gunzip", "kill", "mpirun", "python3", "sbatch",
          "sha256sum", "tensorboard"}
# Programs of the repository, besides lockstep itself.
OWN = ("launch/", "benchmarks/", "tests/")
# What a repository's checkout has or gets.
PLACES = ("benchmarks/", "cmake/", "configs/", "data/", "docs/", "examples/", "include/", "launch/",
          "src/", "tests/")


def without_comment(line):
    """The words of a line as they are written: with their quotes, and with what the shell does for them."""
    lexer = shlex.shlex(line, posix=False)
    lexer.whitespace_split = True
    return " ".join(lexer)


class Block:
    def __init__(self, kind, line):
        self.kind, self.line, self.lines = kind, line, []

    def commands(self):
        """(line number, command without its comment, exit code it must have)."""
        number, text = self.line + 1, ""
        for offset, line in enumerate(self.lines, self.line + 1):
            number = number if text else offset
            text += line
            if text.endswith("\\"):
                text = text[:-1]
                continue
            code = EXPECTED_CODE.search(text)
            command = without_comment(text)
            if command:
                yield number, command, int(code.group(1)) if code else 0
            text = ""


def blocks(text):
    found, inside = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if inside is None and fence:
            inside = Block(fence.group(1).strip(), number)
            found.append(inside)
        elif fence:
            inside = None
        elif inside is not None:
            inside.lines.append(line)
    return found


def shape(line):
    """A printed line without what changes from run to run and from machine to machine."""
    line = re.sub(r"(\d+ h \d+ min|\d+ min \d+ s|[\d.]+ s)\b", "TIME", line)
    line = re.sub(r"\b(AVX2|AVX512|DEFAULT|NO AVX)\b", "CPU", line)
    line = re.sub(r"\bkernels=\w+", "kernels=CPU", line)
    line = re.sub(r"\b[0-9a-f]{64}\b", "SHA256", line)
    line = re.sub(r"\b\d{8}-\d{6}\b", "DATE", line)
    line = re.sub(r"\S*/(?=data/mnist|runs/)", "", line)
    return re.sub(r"\s+", " ", re.sub(r"\d([\d,.]*\d)?(e[+-]?\d+)?", "N", line)).strip()


def missing_output(shown, printed):
    """The lines of a block of output that a run has not printed; numbers do not count."""
    known = {shape(line) for line in printed.splitlines()}
    return [line for line in shown if line.strip() and not line.startswith("...") and shape(line) not in known]


def is_there(path, root):
    return (root / path).exists() or any(root.glob(path))


def named_files(text):
    """Files of the repository that the text links or names as code."""
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        yield target
    for code in re.findall(r"`([^`\n]+)`", text):
        for word in code.split():
            if word.startswith(PLACES):
                yield word


def option_faults(words, help_of):
    """Options of one command that its program does not have, and unknown programs."""
    words = [word for word in words if not re.match(r"^[A-Z_]+=", word)]
    if words[0] == "sudo":
        words = words[1:]
    own = [i for i, word in enumerate(words) if word.endswith("lockstep") or word.startswith(OWN)]
    program = words[0]
    if program not in SYSTEM and own[:1] != [0]:
        yield f"{program}: is this a program of the system?"
    if program == "cmake" and "--preset" in words:
        presets = json.loads((SOURCE / "CMakePresets.json").read_text())["configurePresets"]
        name = words[words.index("--preset") + 1]
        if name not in [preset["name"] for preset in presets]:
            yield f"there is no preset {name}"
    if not own or program in ("cmake", "ctest", "git", "cd"):
        return
    arguments = words[own[0] + 1:]
    options = [word.split("=")[0] for word in arguments if word.startswith("--")]
    if not options and words[own[0]].startswith("benchmarks/"):
        return
    command = [words[own[0]]]
    if command[0].endswith("lockstep") and arguments and not arguments[0].startswith("-"):
        command.append(arguments[0])
    known = set(OPTION.findall(help_of(command))) | {"--help", "--version"}
    for option in options:
        if option not in known:
            yield f"{' '.join(command)} has no {option}"


def faults(text, root, help_of):
    """Everything in the README that is wrong without a command being run."""
    for block in blocks(text):
        if block.kind.split()[:1] != ["sh"]:
            continue
        for number, command, _ in block.commands():
            for fault in option_faults(shlex.split(command), help_of):
                yield f"line {number}: {fault}"
            for word in shlex.split(command):
                path = word.split("=")[-1]
                if path.startswith(PLACES) and not is_there(path, root):
                    yield f"line {number}: there is no {path}"
    for path in named_files(text):
        if not is_there(path, root):
            yield f"there is no {path}"
