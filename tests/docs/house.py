#!/usr/bin/env python3
"""Holds the imports of the house against docs/architecture.md.

Rooms (the modules directly under src/): an import that the page's table does not have, and an entry that nothing uses, are errors.
Files, of src/ and of loadtest/src/: an import leads to the file that defines the name, through every `pub use` on the way. A circle
of files is an error. A parent that passes a child's names on imports nothing by it."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/architecture.md"
CRATES = ["src", "loadtest/src"]
# Unit tests may import what they like: they are cut off before imports are looked for.
TESTS = re.compile(r"#\[cfg\((?:all\(|any\()?test\b[^\n]*\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))? )?mod \w+ \{", re.S)
# The crate's own root, and the program, which imports the library like anybody else.
NOT_ROOMS = {"lib", "main"}
NAME = re.compile(r"\s*(?:r#)?([A-Za-z_][A-Za-z0-9_]*|\*)")
USE = re.compile(r"(?m)^[ \t]*(pub(?:\([^)]*\))? )?use ([A-Za-z_]\w*(?:::[^;]*| as \w+)?);")
PATH = re.compile(r"\b(?:crate|self|super|[a-z_][a-z0-9_]*)(?:::[A-Za-z_][A-Za-z0-9_]*)+")


def leaves(text, at=0):
    """The paths of a use tree from `at` on, each with the name it is known by, and where the tree ends."""
    path = []
    while True:
        if match := re.compile(r"\s*\{").match(text, at):
            at, found = match.end(), []
            while not (end := re.compile(r"[\s,]*\}").match(text, at)):
                at = re.compile(r"[\s,]*").match(text, at).end()
                inner, at = leaves(text, at)
                found += [(path + names, known or path[-1]) for names, known in inner]
            return found, end.end()
        match = NAME.match(text, at)
        path.append(match[1])
        at = match.end()
        if match := re.compile(r"\s*::").match(text, at):
            at = match.end()
            continue
        if match := re.compile(r"\s+as\s+(\w+)").match(text, at):
            return [([] if path == ["self"] else path, match[1])], match.end()
        if path == ["self"]:
            return [([], None)], at
        return [(path, path[-1])], at


class Module:
    """A file: what it imports, and what it passes on."""

    def __init__(self, file, name):
        self.file, self.name, self.known, self.globs, self.paths = file, name, {}, [], set()
        text = re.sub(r"//[^\n]*", "", TESTS.split(file.read_text())[0])
        for match in USE.finditer(text):
            for path, known in leaves(match[2])[0]:
                if path[-1] == "*":
                    self.globs.append((path[:-1], bool(match[1])))
                else:
                    self.known[known] = (path, bool(match[1]))
        for match in PATH.finditer(USE.sub("", text)):
            self.paths.add(tuple(match[0].split("::")))


class Crate:
    """The files of a crate as a tree of modules."""

    def __init__(self, root):
        self.modules = {}
        for file in sorted((ROOT / root).rglob("*.rs")):
            parts = file.relative_to(ROOT / root).with_suffix("").parts
            if "tests" in parts or parts == ("main",):
                continue
            name = () if parts == ("lib",) else parts[:-1] if parts[-1] == "mod" else parts
            self.modules[name] = Module(file, name)

    def absolute(self, module, path):
        """`path`, as written in `module`, from the crate's root on; `None` if it leads out of the crate."""
        head, rest = path[0], list(path[1:])
        if head == "crate":
            return rest
        if head == "self":
            return list(module.name) + rest
        if head == "super":
            above = list(module.name)[:-1]
            while rest and rest[0] == "super":
                above, rest = above[:-1], rest[1:]
            return above + rest
        if module.name + (head,) in self.modules:
            return list(module.name) + list(path)
        return None

    def defined(self, path, seen=frozenset()):
        """The module whose file defines what this path from the root leads to."""
        if tuple(path) in seen:
            return None
        seen, here = seen | {tuple(path)}, ()
        for place, name in enumerate(path):
            if here + (name,) in self.modules:
                here += (name,)
                continue
            module = self.modules.get(here)
            if module is None:
                return None
            if name in module.known:
                through = self.absolute(module, module.known[name][0])
                return self.defined(through + path[place + 1:], seen) if through else None
            for glob, _ in module.globs:
                through = self.absolute(module, glob)
                found = self.modules.get(tuple(through)) if through else None
                if found and re.search(rf"\b(?:fn|struct|enum|trait|const|static|type|macro_rules!) {name}\b", found.file.read_text()):
                    return found
            return module
        return self.modules.get(here)

    def imports(self):
        """For each module the modules whose names it uses."""
        edges = {}
        for module in self.modules.values():
            wanted = [path for path, passed_on in module.known.values() if not passed_on]
            wanted += [path for path, passed_on in module.globs if not passed_on]
            for path in module.paths:
                if path[0] in module.known and not module.known[path[0]][1]:
                    path = tuple(module.known[path[0]][0]) + path[1:]
                wanted.append(path)
            for path in wanted:
                absolute = self.absolute(module, path)
                found = self.defined(absolute) if absolute else None
                if found is not None and found is not module:
                    edges.setdefault(module.name, set()).add(found.name)
        return edges


def circles(edges):
    """The sets of modules that import each other in circles (Tarjan)."""
    number, low, stack, found = {}, {}, [], []

    def visit(at):
        number[at] = low[at] = len(number)
        stack.append(at)
        for to in sorted(edges.get(at, ())):
            if to not in number:
                visit(to)
                low[at] = min(low[at], low[to])
            elif to in stack:
                low[at] = min(low[at], number[to])
        if low[at] == number[at]:
            members = []
            while not members or members[-1] != at:
                members.append(stack.pop())
            if len(members) > 1:
                found.append(sorted(members))

    sys.setrecursionlimit(10_000)
    for at in sorted(edges):
        if at not in number:
            visit(at)
    return found


def table():
    """The rooms that each room may import, as the page says: rows `| room | room, room |` under its heading."""
    section = PAGE.read_text().split("### Which room imports which\n", 1)[1].split("\n#", 1)[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]*) \|", section, flags=re.M)
    return {room: set(re.findall(r"`([a-z_]+)`", others)) for room, others in rows}


def main():
    problems, files, arrows = [], 0, 0
    for root in CRATES:
        crate = Crate(root)
        edges = crate.imports()
        files += len(crate.modules)
        arrows += sum(map(len, edges.values()))
        for members in circles(edges):
            inside = [(a, b) for a in members for b in sorted(edges.get(a, ())) if b in members]
            text = ", ".join(f"{'::'.join(a) or 'lib'} -> {'::'.join(b) or 'lib'}" for a, b in inside)
            problems.append(f"{root}: a circle of {len(members)} files: {text}")
        if root != "src":
            continue
        rooms, seen = {}, {}
        for name, others in edges.items():
            for other in others:
                if name and other and name[0] != other[0]:
                    rooms.setdefault(name[0], set()).add(other[0])
                    seen.setdefault((name[0], other[0]), crate.modules[name].file.relative_to(ROOT))
        there = {name[0] for name in crate.modules if name} - NOT_ROOMS
        told = table()
        assert len(there) > 5 and told, "the rooms or the table could not be read"
        for room in sorted(there | set(told)):
            if room not in there or room not in told:
                problems.append(f"{room}: {'no such room' if room not in there else 'missing in the table'}")
                continue
            for other in sorted(rooms.get(room, set()) - told[room]):
                problems.append(f"{seen[room, other]}: `{room}` must not import `{other}`")
            for other in sorted(told[room] - rooms.get(room, set())):
                problems.append(f"{room}: the table has `{other}`, which it does not import")
    print("\n".join(problems) or f"{files} files, {arrows} imports between them: rooms as the page says, no circle")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
