"""Medians, and how they are told."""

import json
from dataclasses import asdict, dataclass
from statistics import median


@dataclass
class Result:
    """A row as it was measured. `ours_us`, `anchor_us`: microseconds of processor time for an operation."""

    name: str
    what: str
    goal: float
    ratio: float | None = None
    ours_us: float | None = None
    anchor: str | None = None
    anchor_us: float | None = None
    # From the lowest round's ratio to the highest one's.
    spread: tuple[float, float] | None = None
    # Of rows that are no ratio: a figure, and its unit.
    value: float | None = None
    unit: str | None = None
    notes: str = ""

    @property
    def held(self):
        return (self.value if self.ratio is None else self.ratio) <= self.goal


def ratio(name, what, goal, anchor, pairs, notes=""):
    """Of pairs of samples that were taken side by side. The ratio is the median of the rounds' ratios."""
    ratios = [ours.us / theirs.us for ours, theirs in pairs]
    lost = sum(ours.lost for ours, _ in pairs), sum(theirs.lost for _, theirs in pairs)
    if any(lost):
        notes = ", ".join(filter(None, [notes, f"lost: {lost[0]} of ours, {lost[1]} of the other's"]))
    return Result(
        name,
        what,
        goal,
        ratio=median(ratios),
        ours_us=median(ours.us for ours, _ in pairs),
        anchor=anchor,
        anchor_us=median(theirs.us for _, theirs in pairs),
        spread=(min(ratios), max(ratios)),
        notes=notes,
    )


def table(results):
    """Markdown, so that it can be put into a page as it is."""
    rows = [("what", "ours", "held against", "its", "ratio", "rounds", "goal", "")]
    for one in results:
        if one.ratio is None:
            figures = (f"{figure(one.value)} {one.unit}", "", "", "", "")
        else:
            low, high = one.spread
            anchor = f"{one.anchor_us:.2f} µs"
            figures = (f"{one.ours_us:.2f} µs", one.anchor, anchor, f"{one.ratio:.2f}", f"{low:.2f} to {high:.2f}")
        verdict = "held" if one.held else "**missed**"
        rows.append((one.what, *figures, f"at most {figure(one.goal)}", ", ".join(filter(None, [verdict, one.notes]))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def figure(number):
    return f"{number:.2f}" if number < 10 and number != int(number) else f"{number:.0f}"


def as_json(results):
    return json.dumps([{**asdict(one), "held": one.held} for one in results], indent=2) + "\n"
