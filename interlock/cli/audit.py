"""`interlock audit`: verify the chain of the ledger, export its events."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies
from interlock.cli.output import emit, lines, say
from interlock.cli.problems import FAILED

app = typer.Typer(help="The ledger: verify, export.", no_args_is_help=True)


@app.command()
def verify(home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """Read the whole chain again; ends with 1 and names the first bad event when it was touched."""
    from interlock.cli.session import drive, reading

    async def work() -> Any:
        async with reading(home, policies=policies) as plane:
            return await plane.ledger.verify()

    report = drive(work())
    if as_json:
        emit({"ok": report.ok, "events": report.events, "first_bad": report.first_bad, "why": report.why})
    else:
        sound = "verified" if report.ok else f"BROKEN at event {report.first_bad}: {report.why}"
        print(f"{report.events} events, {sound}")
    if not report.ok:
        say("hint: compare with a backup or an export; events before that one are as they were written")
        raise typer.Exit(FAILED)


@app.command()
def export(
    home: Home = DEFAULT_HOME,
    case: Annotated[str | None, typer.Option("--case", help="Of this case only.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this time on (ISO 8601).")] = None,
    policies: Policies = None,
) -> None:
    """Events as JSON lines on stdout."""
    from interlock.cli.session import drive, reading
    from interlock.errors import InputError

    async def work() -> None:
        async with reading(home, policies=policies) as plane:
            try:
                events = plane.ledger.export(case, since, plane.tenant)
                await lines(events)
            except ValueError as exc:
                raise InputError(f"{since!r} is no time", "write ISO 8601, as 2026-11-24T10:00:00Z") from exc

    drive(work())
