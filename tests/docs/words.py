#!/usr/bin/env python3
"""Holds documentation and code to plain words: no sentence that begins with a headless "who" or "what", and none of the
names that an engineer from outside could not look up. Needs Python 3 and nothing else."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A decision is a record: it is replaced and not rewritten.
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if "decisions" not in page.parts and page.name != "CHANGELOG.md"
)
# A statement that begins with one of these has no subject that a reader could look up.
HEADLESS = re.compile(r"^(?:Who|Whoever|What|Whatever|Whose) [^?]*$")
# Names that a reader cannot look up. Each says what a thing is like, and not what it is.
RIDDLES = "Hall Desk Door Guest Greeting Visit Crew Hand Muster Wallet Graves Grave Told Said Held Asked Heard Listened Hooked".split()
DECLARED = re.compile(rf"\b(?:struct|enum|trait|type) (?:{'|'.join(RIDDLES)})\b")
# `is_...` asks. A method without an answer does something.
CHANGES = re.compile(r"\bfn is_[a-z_]+\((?:&mut self|mut self|&self\) *\{)")
# Two words of the store that its tests share.
KNOWN = {"src/store/records.rs": {"Held"}, "src/store/history.rs": {"Heard"}}
# "open to who reaches it", "for who pays", "; who asks gets"
RELATIVE = re.compile(r"(?:\b(?:to|for|by|of|from|with|at) |[;:] )who(?:ever)? (?!are\b)[a-z]+", re.I)


def prose(text):
    """The sentences of a page, without code, headings and what is set in bold."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    text = re.sub(r"`[^`\n]*`", "`x`", text)
    text = re.sub(r"\*\*[^*]+\*\*", "X", text)
    for block in re.split(r"\n\s*\n|\n(?=[|*-] |\d+\. )", text):
        cells = block.strip("| \n").split(" | ") if block.startswith("|") else [re.sub(r"^(?:[*-]|\d+\.) ", "", block)]
        for cell in cells:
            for sentence in re.split(r"(?<=[.!?:])\s+", " ".join(cell.split())):
                yield sentence


def main():
    problems, looked_at = [], 0
    for page in PAGES:
        for sentence in prose(page.read_text()):
            looked_at += 1
            if HEADLESS.match(sentence) or RELATIVE.search(sentence):
                problems.append(f"{page.relative_to(ROOT)}: say who or what it is: {sentence}")
    assert looked_at > 1000, "the pages have lost their shape"
    sources = [path for top in ("src", "loadtest/src", "benches") for path in sorted((ROOT / top).rglob("*.rs"))]
    for path in sources:
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if CHANGES.search(line):
                problems.append(f"{name}:{number}: `is_...` must not change anything: {line.strip()}")
            declared = DECLARED.search(line)
            if declared and declared[0].split()[1] not in KNOWN.get(name, ()):
                problems.append(f"{name}:{number}: name what it is: {line.strip()}")
    assert len(sources) > 100, "the code was not found"
    print("\n".join(problems) or f"{len(PAGES)} pages, {looked_at} sentences, {len(sources)} files of code: plain")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
