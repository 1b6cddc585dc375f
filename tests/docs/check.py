#!/usr/bin/env python3
"""Checks that the documentation hangs together: links and anchors lead somewhere, and every metric, configuration key and
variable that a page or a deployment file names exists in the pages that are made from the code, and every excerpt is in its file.

Needs Python 3 and nothing else. Prints what is wrong and ends with 1, or says how much it has looked at.
"""

import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A template's links are blanks.
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if "template" not in page.name)
DEPLOYMENT = sorted(path for path in ROOT.glob("deploy/**/*") if path.is_file())
# Made from a metric's name by the Prometheus text format.
SUFFIXES = ("_bucket", "_count", "_sum")
# Variables that are no configuration key.
OTHER_VARIABLES = {"GASTANK_CONFIG"}

problems = []


def check_tests(page):
    """Every test that the threat model names exists."""
    cells = [line.strip("|").split("|")[-1] for line in page.read_text().splitlines() if line.startswith("| ")]
    named = [name for cell in cells for name in re.findall(r"`([a-z0-9_]+)`", cell)]
    assert named, "the threat model names no test"
    sources = [path.read_text() for top in ("src", "tests", "loadtest") for path in (ROOT / top).rglob("*.rs")]
    exist = {name for text in sources for name in re.findall(r"\bfn ([a-z0-9_]+)", text)}
    problems.extend(f"{page.relative_to(ROOT)}: no such test: {name}" for name in named if name not in exist)
    return len(named)


def check_run(page, text):
    """A runbook says what of it was run, and by which test, or that it was not."""
    if page.parent.name == "operations" and not re.search(r"`cargo test |`make |has been run|was run", text):
        problems.append(f"{page.relative_to(ROOT)}: does not say what of it was run")


def check_excerpts(page, text):
    """A block of code that says where it was tried is there, word for word."""
    excerpts = re.findall(r"^<!-- as tried: (\S+) -->\n```\w*\n(.*?)^```$", text, flags=re.M | re.S)
    for path, code in excerpts:
        found = ROOT / path
        if not found.exists() or textwrap.dedent(code) not in unindented(found.read_text()):
            problems.append(f"{page.relative_to(ROOT)}: is not in {path}: {code.strip().splitlines()[0]} ...")
    return len(excerpts)


def unindented(text):
    """The text at every indent that it has lines of, so that an excerpt may stand at the margin."""
    widths = {len(line) - len(line.lstrip(" ")) for line in text.splitlines()}
    return "\n".join(re.sub(rf"^ {{{width}}}", "", text, flags=re.M) for width in sorted(widths))


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(text):
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_links(page, text):
    count = 0
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", target):
            continue
        count += 1
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists():
            problems.append(f"{page.relative_to(ROOT)}: no such file: {target}")
        elif anchor and found.suffix == ".md" and anchor not in anchors(found.read_text()):
            problems.append(f"{page.relative_to(ROOT)}: no such heading: {target}")
    return count


def check_names(page, text, metrics, variables):
    names = set(re.findall(r"\bgastank_[a-z_]+[a-z]\b", text))
    for name in names:
        base = next((name[: -len(suffix)] for suffix in SUFFIXES if name.endswith(suffix)), name)
        if name not in metrics and base not in metrics:
            problems.append(f"{page.relative_to(ROOT)}: no such metric: {name}")
    used = set(re.findall(r"\bGASTANK_[A-Z_]+[A-Z]\b", text))
    for name in used - variables - OTHER_VARIABLES:
        problems.append(f"{page.relative_to(ROOT)}: no such variable: {name}")
    return len(names) + len(used)


def main():
    metrics = set(re.findall(r"^\| `(gastank_[a-z_]+)` \|", (ROOT / "docs/metrics.md").read_text(), flags=re.M))
    variables = set(re.findall(r"`(GASTANK_[A-Z_]+)` \|$", (ROOT / "docs/configuration.md").read_text(), flags=re.M))
    assert metrics and variables, "the generated pages have lost their shape"
    looked_at = 0
    for page in PAGES:
        text = page.read_text()
        check_run(page, text)
        looked_at += check_excerpts(page, text)
        looked_at += check_links(page, text)
        looked_at += check_names(page, text, metrics, variables)
    looked_at += check_tests(ROOT / "docs/security.md")
    for path in DEPLOYMENT:
        looked_at += check_names(path, path.read_text(), metrics, variables)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{len(PAGES)} pages and {len(DEPLOYMENT)} deployment files, {looked_at} links and names: all exist")


if __name__ == "__main__":
    main()
