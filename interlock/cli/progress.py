"""Progress for people: a bar on a terminal, one line otherwise; always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from interlock.cli.output import say

__all__ = ["progress"]


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """Gives what to call for each thing done."""
    if not sys.stderr.isatty():
        say(f"{label}: {total}")
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)
