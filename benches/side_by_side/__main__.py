"""gastank beside floors and foreign servers, under the same load, in turns: what each operation costs.

    make bench                                   builds everything and runs this
    python3 benches/side_by_side --only udp      when everything is built: rows whose name begins with `udp`

Prints a table, and writes it to target/bench/ratios.json. docs/performance.md says what the figures mean.
"""

import argparse
import pathlib
import sys
import time

import rows
from lab import ROOT, WORK, Failed, Lab, Missing, tell
from results import as_json, table


def main():
    args = arguments()
    wanted = [row for row in rows.rows() if not args.only or row.name.startswith(tuple(args.only))]
    if args.list:
        for row in wanted:
            tell(f"{row.name:<20} {row.what}")
        return 0
    results, skipped = measure(wanted, args)
    if results:
        tell("\n" + table(results) + "\n")
        WORK.mkdir(parents=True, exist_ok=True)
        (WORK / "ratios.json").write_text(as_json(results))
    for row, reason in skipped:
        tell(f"not measured: {row.what}: {reason}")
    broken = any(isinstance(reason, Failed) for _, reason in skipped)
    missed = any(not result.held for result in results)
    return 1 if broken or (args.strict and (missed or skipped)) else 0


def measure(wanted, args):
    rounds, seconds = (1, 0.3) if args.quick else (args.rounds, args.seconds)
    results, skipped = [], []
    began = time.monotonic()
    for number, row in enumerate(wanted, 1):
        at = time.monotonic() - began
        tell(f"[{number}/{len(wanted)}, {at:.0f} s] {row.what}")
        try:
            with Lab(args.built.resolve(), args.quick) as lab:
                results.append(row.measure(lab, rounds, seconds, lambda text: tell(f"    {text}")))
        except Missing as reason:
            tell(f"    left out: {reason}")
            skipped.append((row, reason))
        except Failed as reason:
            tell(f"    failed: {reason}")
            skipped.append((row, reason))
    return results, skipped


def arguments():
    parser = argparse.ArgumentParser(prog="side_by_side", description="Costs of operations, held against floors.")
    parser.add_argument("--only", action="append", metavar="NAME", help="rows whose names begin with this; repeatable")
    parser.add_argument("--list", action="store_true", help="lists the rows and ends")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load in a round, for each side (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, not what it costs")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a goal is missed or a row was skipped")
    parser.add_argument("--built", type=pathlib.Path, default=ROOT / "target/dist", help="directory of our programs")
    return parser.parse_args()


sys.exit(main())
