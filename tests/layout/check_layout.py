#!/usr/bin/env python3
"""Fails when a file includes a module it may not, or LibTorch or a #ifdef where neither belongs, or when
two headers define a type of one name in one namespace: the linker would take one's functions for both;
or when docs/modules.svg draws other modules than there are.

check_layout.py ROOT reads the sources below ROOT/include/lockstep and ROOT/src, prints one line a
fault, and returns 1 when there is one.
"""
import pathlib
import re
import sys

# Module -> modules it may include, besides itself. Only what stands above is named.
ALLOWED = {
    "base": set(),
    "comm": {"base"},
    "data": {"base"},
    "kernels": {"base"},
    "optim": {"base"},
    "checkpoint": {"base"},
    "records": {"base", "checkpoint"},
    "model": {"base", "kernels"},
    "sync": {"base", "comm", "model"},
    "train": {"base", "comm", "data", "kernels", "optim", "checkpoint", "records", "model", "sync"},
    "report": {"base", "data", "records", "checkpoint"},
}
ALLOWED["cli"] = set(ALLOWED)

# These build in seconds and are tested without LibTorch.
TORCH_FREE = {"base", "comm", "data", "kernels", "optim", "checkpoint", "records", "report"}
TORCH = re.compile(r"(torch|ATen|c10|caffe2)/")

# A backend is a pair of files that CMake chooses from; only the compiler's or the machine's own
# differences may be asked for in the source.
CONDITIONAL = re.compile(r"\s*#\s*(?:if|ifdef|ifndef|elif)\b\s*(.*)")
PORTABLE = re.compile(r"\b__\w+")  # the compiler's own macros and __has_include
INCLUDE = re.compile(r'\s*#\s*include\s*[<"]([^>"]+)[>"]')
NAMESPACE = re.compile(r"namespace\s*([\w:]*)\s*\{")
TYPE = re.compile(r"(?:class|struct|union|enum(?:\s+class)?)\s+([\w:]+)[^;]*\{")
DRAWING = "docs/modules.svg"
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".in"}


def without_comments(text):
    """The text with comments blanked and line numbers kept; strings survive."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def blank(match):
        found = match.group(0)
        return found if found[0] in "\"'" else re.sub(r"[^\n]", " ", found)

    return re.sub(pattern, blank, text, flags=re.DOTALL)


def target_module(included, folder, root):
    """The module an #include names, or None for a file outside lockstep."""
    parts = included.split("/")
    if parts[0] == "lockstep":
        return parts[1] if len(parts) > 1 else None
    if parts[0] in ALLOWED and len(parts) > 1:
        return parts[0]
    beside = (folder / included).resolve()
    source = (root / "src").resolve()
    if beside.is_file() and source in beside.parents:
        return beside.relative_to(source).parts[0]
    return None


def faults_of_file(path, module, root):
    shown = path.relative_to(root)
    lines = without_comments(path.read_text(encoding="utf-8")).splitlines()
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        if include:
            included = include.group(1)
            target = target_module(included, path.parent, root)
            if target is not None and target not in ALLOWED:
                yield f"{shown}:{number}: includes {included}: there is no module {target}"
            elif target not in (None, module) and target not in ALLOWED[module]:
                yield f"{shown}:{number}: includes {included}: {module} may not include {target}"
            if module in TORCH_FREE and TORCH.match(included):
                yield f"{shown}:{number}: includes {included}: {module} is free of LibTorch"
        condition = CONDITIONAL.match(line)
        if condition and not PORTABLE.search(condition.group(1)):
            yield f"{shown}:{number}: {line.strip()}: a backend is a pair of files, not a condition"


def types_of_header(path):
    """Full name and line of each type that a header defines outside of any other."""
    depth, spaces = 0, []  # spaces: (depth within it, name)
    for number, line in enumerate(without_comments(path.read_text(encoding="utf-8")).splitlines(), 1):
        space = NAMESPACE.match(line)
        found = TYPE.match(line)
        if space:
            spaces.append((depth + 1, space.group(1)))
        elif found and depth == len(spaces):
            yield "::".join([name for _, name in spaces] + [found.group(1)]), number
        depth += line.count("{") - line.count("}")
        while spaces and depth < spaces[-1][0]:
            spaces.pop()


def faults_of_drawing(root):
    drawn = re.findall(r'class="name"[^>]*>(\w+)<', (root / DRAWING).read_text(encoding="utf-8"))
    for module in sorted(set(ALLOWED) - set(drawn)):
        yield f"{DRAWING}: does not show the module {module}"
    for module in sorted(set(drawn) - set(ALLOWED)):
        yield f"{DRAWING}: shows {module}, which is no module"


def faults(root):
    root = pathlib.Path(root)
    seen = 0
    types = {}
    for base in (root / "include" / "lockstep", root / "src"):
        for path in sorted(base.rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            seen += 1
            inner = path.relative_to(base).parts
            if inner == ("lockstep.h",):  # the one header that users include
                inner = ("cli", *inner)
            if inner[0] not in ALLOWED or len(inner) < 2:
                yield f"{path.relative_to(root)}: lies in no module"
                continue
            yield from faults_of_file(path, inner[0], root)
            for name, number in types_of_header(path) if path.suffix == ".h" else ():
                place = f"{path.relative_to(root)}:{number}"
                if name in types:
                    yield f"{place}: {name} is also what {types[name]} defines"
                types.setdefault(name, place)
    if seen == 0:
        yield f"{root}: holds no sources"


def main():
    found = [*faults(sys.argv[1]), *faults_of_drawing(pathlib.Path(sys.argv[1]))]
    print("\n".join(found) if found else "layout: every include points to a module it may use")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
