#!/usr/bin/env python3
"""Holds the imports between the rooms of the house (the modules directly under src/) against the table in
docs/architecture.md: an import that the table does not have, an entry that nothing uses, and a circle are errors."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/architecture.md"
# Unit tests may import what they like: they are cut off before imports are looked for.
TESTS = re.compile(r"#\[cfg\((?:all\()?test\b.*?\)\]\s*(?:#\[[^\]]*\]\s*)*mod \w+ \{", re.S)
# The crate's own root, and the program, which imports the library like anybody else.
NOT_ROOMS = {"lib", "main"}


def imported(text):
    """The rooms named after `crate::`, in `use` items and in paths."""
    for match in re.finditer(r"\bcrate::(\{|[a-z_][a-z0-9_]*)", text):
        if match[1] != "{":
            yield match[1]
            continue
        depth, name = 1, ""
        for char in text[match.end():]:
            depth += {"{": 1, "}": -1}.get(char, 0)
            if depth == 0 or (depth == 1 and char == ","):
                if head := re.match(r"\s*([a-z_][a-z0-9_]*)", name):
                    yield head[1]
                name = ""
                if depth == 0:
                    break
            else:
                name += char


def graph():
    """For each room the rooms it imports, and for each pair a file that does."""
    rooms, seen = {}, {}
    for path in sorted((ROOT / "src").rglob("*.rs")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        room = parts[0]
        if room in NOT_ROOMS or "tests" in parts:
            continue
        found = rooms.setdefault(room, set())
        text = re.sub(r"//[^\n]*", "", TESTS.split(path.read_text())[0])
        for other in imported(text):
            if other != room:
                found.add(other)
                seen.setdefault((room, other), path.relative_to(ROOT))
    return {room: {other for other in found if other in rooms} for room, found in rooms.items()}, seen


def table():
    """The same, as the page says: rows `| room | room, room |` under its heading."""
    text = PAGE.read_text()
    section = text.split("### Which room imports which\n", 1)[1].split("\n#", 1)[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]*) \|", section, flags=re.M)
    return {room: set(re.findall(r"`([a-z_]+)`", others)) for room, others in rows}


def circle(rooms):
    """Rooms that import each other in a circle, if there are any."""
    done, path = set(), []

    def visit(room):
        if room in path:
            return path[path.index(room):] + [room]
        if room in done:
            return None
        path.append(room)
        found = next((found for other in sorted(rooms.get(room, ())) if (found := visit(other))), None)
        path.pop()
        done.add(room)
        return found

    return next((found for room in sorted(rooms) if (found := visit(room))), None)


def main():
    (rooms, seen), told = graph(), table()
    assert len(rooms) > 5 and told, "the rooms or the table could not be read"
    problems = []
    for room in sorted(rooms | told):
        actual, allowed = rooms.get(room), told.get(room)
        if actual is None or allowed is None:
            problems.append(f"{room}: {'no such room' if actual is None else 'missing in the table'}")
            continue
        for other in sorted(actual - allowed):
            problems.append(f"{seen[room, other]}: `{room}` must not import `{other}`")
        for other in sorted(allowed - actual):
            problems.append(f"{room}: the table has `{other}`, which it does not import")
    if found := circle(rooms):
        problems.append("a circle: " + " -> ".join(found))
    print("\n".join(problems) or f"{len(rooms)} rooms, {sum(map(len, rooms.values()))} imports between them: as the page says, no circle")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
