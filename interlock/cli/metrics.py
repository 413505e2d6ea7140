"""`interlock metrics`: throughput, cycle time, cost, approvals and exceptions, read from the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies, Workflow
from interlock.cli.output import emit, pairs, table

Since = Annotated[str | None, typer.Option("--since", help="From this time on (ISO 8601).")]
Until = Annotated[str | None, typer.Option("--until", help="Before this time (ISO 8601).")]
Period = Annotated[str | None, typer.Option("--by", help="Also per day, week or month.")]
Zone = Annotated[str, typer.Option("--tz", help="Time zone of days, weeks and months.")]


def metrics(
    home: Home = DEFAULT_HOME,
    workflow: Workflow = None,
    since: Since = None,
    until: Until = None,
    by: Period = None,
    tz: Zone = "UTC",
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Throughput, cycle time, cost, uptime.

    Also money, approvals and exceptions; everything is read from the ledger.
    """
    from interlock.cli.session import drive, reading

    async def work() -> Any:
        async with reading(home, policies=policies) as plane:
            return await plane.metrics.summary(workflow, since, until, by=by, tz=tz)

    figures = drive(work())
    if as_json:
        return emit(figures)
    periods = figures.pop("periods", [])
    pairs(dict(flat(figures)))
    if periods:
        columns = ("period", "started", "completed", "failed", "cycle p50", "exceptions")
        rows = [
            (p["period"], *(p["cases"][c] for c in columns[1:4]), p["cycle_s"]["p50"], p["exceptions"]) for p in periods
        ]
        table(columns, rows)
    return None


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested figures with dotted names."""
    for name, value in figures.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        elif value not in ({}, []):
            yield prefix + name, value
