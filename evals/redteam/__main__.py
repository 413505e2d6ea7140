"""`python -m interlock.evals.redteam`: the red team of AgentDojo, as a table; the last line is the counts as JSON."""

from __future__ import annotations

import argparse
import sys

from interlock.evals.redteam.dojo import SUITES
from interlock.evals.redteam.measure import measure
from interlock.plane import run


def main() -> int:
    """Exit code 0 when every aim is met, 1 when one is missed."""
    parser = argparse.ArgumentParser(prog="redteam", description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="only this suite; may be given again")
    parser.add_argument("--pairs", type=int, help="a choice of so many pairs instead of all")
    parser.add_argument("--seed", type=int, default=0, help="of that choice")
    parser.add_argument("--without", choices=("steps", "provenance"), help="take a defence away, to see what it does")
    asked = parser.parse_args()
    chosen = {"pairs": asked.pairs, "seed": asked.seed, "without": asked.without}
    report = run(measure(asked.suite or SUITES, **chosen, progress=_told))
    sys.stdout.write(f"{report.as_text()}\n{report.as_json()}\n")
    return 1 if report.missed() else 0


def _told(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    raise SystemExit(main())
