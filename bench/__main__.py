"""`python -m bench [B1|B2|B3 ...] [--rounds N] [--short] [--sync-ms MS]`.

Prints Markdown on stdout and progress on stderr; ends with 1 when a count is over its bound.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial

from bench import traced
from bench.alone import run_alone
from bench.benchmarks import BENCHMARKS
from bench.machine import describe
from bench.report import broken, markdown
from bench.rounds import rows, run_rounds
from bench.trial import Trial

SHORT = 0.1


def main() -> int:
    chosen = _arguments()
    print("\n".join(f"- {line}" for line in describe()))
    if chosen.sync_ms:
        print(f"- every sync was made to take {chosen.sync_ms:g} ms longer")
    bad = [f"{name}: {text}" for name in chosen.names or BENCHMARKS for text in _run(name, chosen)]
    for text in bad:
        print(text, file=sys.stderr)
    return 1 if bad else 0


def _run(name: str, chosen: argparse.Namespace) -> list[str]:
    """Run a benchmark and print its table; gives the counts that are over their bound."""
    benchmark, share = BENCHMARKS[name], SHORT if chosen.short else 1.0
    run = partial(_slowed, name, chosen.sync_ms) if chosen.sync_ms else partial(run_alone, name)
    trials = asyncio.run(run_rounds(benchmark, chosen.rounds, share, run, partial(_tell, name)))
    found = rows(benchmark, trials, share, partial(traced.run_traced, name))
    print(f"\n{markdown(name, benchmark, found)}", flush=True)
    return broken(benchmark, found)


async def _slowed(name: str, sync_ms: float, peer: str, runs: int, concurrency: int) -> Trial:
    found = await asyncio.to_thread(traced.run_traced, name, peer, runs, concurrency, sync_ms)
    if found is None:
        raise SystemExit("--sync-ms needs strace, and to be allowed to trace")
    return found.trial


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", type=_known, help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=_positive, default=5, help="how often every peer is run (default 5)")
    parser.add_argument("--short", action="store_true", help="a tenth of the load, for a look")
    parser.add_argument("--sync-ms", type=float, default=0, help="make every sync take so much longer (needs strace)")
    return parser.parse_args()


def _known(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"no benchmark {name}; there are {', '.join(BENCHMARKS)}")
    return name


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return number


def _tell(name: str, text: str) -> None:
    print(f"{name} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
