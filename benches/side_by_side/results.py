"""Medians, and how they are told."""

import json
from dataclasses import asdict, dataclass
from statistics import median


@dataclass
class Result:
    """A row as it was measured. `ours_us`, `anchor_us`: microseconds of processor time for an operation, or what `unit` says."""

    name: str
    what: str
    # None where the row only explains another.
    goal: float | None
    unit: str
    ours_us: float
    anchor: str | None = None
    anchor_us: float | None = None
    ratio: float | None = None
    # From the lowest round's ratio to the highest one's; of a row without an anchor, of ours.
    spread: tuple[float, float] = (0, 0)
    notes: str = ""
    # What ours did not answer, over all rounds: work that was not done costs nothing.
    lost: int = 0

    @property
    def held(self):
        figure = self.ours_us if self.ratio is None else self.ratio
        return self.goal is None or (figure <= self.goal and self.lost == 0)


def ratio(name, what, goal, anchor, pairs, unit="µs"):
    """Of pairs of samples that were taken side by side. The ratio is the median of the rounds' ratios."""
    ours, theirs = zip(*pairs)
    ratios = [one.cost / other.cost for one, other in pairs]
    lost = sum(one.lost for one in ours), sum(one.lost for one in theirs)
    return Result(
        name,
        what,
        goal,
        unit,
        ours_us=median(one.cost for one in ours),
        anchor=anchor,
        anchor_us=median(one.cost for one in theirs),
        ratio=median(ratios),
        spread=(min(ratios), max(ratios)),
        notes=f"lost: {lost[0]} of ours, {lost[1]} of the other's" if any(lost) else "",
        lost=lost[0],
    )


def figure(name, what, goal, unit, values, notes="", lost=0):
    """Of values of ours alone."""
    spread = min(values), max(values)
    return Result(name, what, goal, unit, ours_us=median(values), spread=spread, notes=notes, lost=lost)


def table(results):
    """Markdown, so that it can be put into a page as it is."""
    rows = [("what", "ours", "held against", "that", "ratio", "rounds", "goal", "")]
    for one in results:
        low, high = map(short, one.spread)
        against = ("", "", "")
        if one.ratio is not None:
            against = (one.anchor, f"{short(one.anchor_us)} {one.unit}", short(one.ratio))
        verdict = "" if one.goal is None else "held" if one.held else "**missed**"
        verdict = ", ".join(filter(None, [verdict, one.notes]))
        goal = "" if one.goal is None else f"{one.goal:g}" if one.ratio is not None else f"{one.goal:g} {one.unit}"
        rows.append((one.what, f"{short(one.ours_us)} {one.unit}", *against, f"{low} to {high}", goal, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def short(number):
    return f"{number:.0f}" if number >= 100 or number == 0 else f"{number:.2f}"


def as_json(results):
    return json.dumps([{**asdict(one), "held": one.held} for one in results], indent=2) + "\n"
