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
    print("\n".join(problems) or f"{len(PAGES)} pages, {looked_at} sentences: plain")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
