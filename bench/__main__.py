"""`python -m bench [B1|B2|B3 ...] [--rounds N] [--short]`.

Prints Markdown on stdout and progress on stderr; ends with 1 when a count is over its bound.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable

from bench.benchmarks import BENCHMARKS
from bench.machine import describe
from bench.report import broken, markdown
from bench.rounds import rows, run_rounds


def main() -> int:
    chosen = _arguments()
    share = 0.1 if chosen.short else 1.0
    print("\n".join(f"- {line}" for line in describe()), flush=True)
    bad: list[str] = []
    for name in chosen.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        trials = asyncio.run(run_rounds(benchmark, chosen.rounds, share, _tell(name)))
        found = rows(name, benchmark, trials, share)
        print(f"\n{markdown(name, benchmark, found)}", flush=True)
        bad += [f"{name}: {text}" for text in broken(benchmark, found)]
    for text in bad:
        print(text, file=sys.stderr)
    return 1 if bad else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", type=_known, help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=_positive, default=5, help="how often every peer is run (default 5)")
    parser.add_argument("--short", action="store_true", help="a tenth of the load, for a look")
    return parser.parse_args()


def _known(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"no benchmark {name}; there are {', '.join(BENCHMARKS)}")
    return name


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return number


def _tell(name: str) -> Callable[[str], None]:
    return lambda text: print(f"{name} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
