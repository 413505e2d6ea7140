"""`interlock run`: a case per input of a file, driven until every one has settled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies, Shadow
from interlock.cli.output import emit, pairs, say
from interlock.cli.problems import FAILED, WAITS

Requester = Annotated[str, typer.Option("--requester", help="Who asks for it, as person:ana.")]
Source = Annotated[str, typer.Option("--input", help="CSV, JSON or JSON lines; or one JSON object.")]
Reference = Annotated[Path | None, typer.Option("--reference", help="Folder of the project's reference data.")]
Hold = Annotated[float | None, typer.Option("--wait", min=0, help="Hold up to so many seconds until all have ended.")]
Count = Annotated[int | None, typer.Option("--limit", min=1, help="Take the first so many inputs only.")]
Slots = Annotated[int | None, typer.Option("--concurrency", min=1, max=1024, help="How many cases at once.")]


def run(
    workflow: Annotated[str, typer.Argument(help="Name of the workflow.")],
    source: Source,
    reference: Reference = None,
    home: Home = DEFAULT_HOME,
    requester: Requester = "person:requester",
    wait: Hold = None,
    limit: Count = None,
    concurrency: Slots = None,
    policies: Policies = None,
    shadow: Shadow = None,
    as_json: Json = False,
) -> None:
    """Run a workflow on a file of inputs.

    Starts a case per input and drives all until they have settled; one that waits for a person has settled. The
    same input again finds its cases by their keys and starts none twice. Ends with 1 when a case failed, with 3 when
    one case was asked for and it waits.
    """
    from interlock.cli.batch import run_batch
    from interlock.cli.inputs import read_inputs
    from interlock.cli.session import drive, working

    inputs = read_inputs(source)

    async def work() -> Any:
        sets = {"policies": policies, "shadow": shadow}
        async with working(home, **sets, reference=reference, concurrency=concurrency) as plane:
            return await run_batch(plane, workflow, inputs, requester=requester, wait=wait, limit=limit)

    outcome = drive(work())
    emit(outcome.figures) if as_json else _print(outcome, home)
    if outcome.failed or not outcome.figures["ledger_verified"]:
        raise typer.Exit(FAILED)
    if outcome.waits:
        raise typer.Exit(WAITS)


def _print(outcome: Any, home: Path) -> None:
    pairs(outcome.figures)
    for case in [case for case in outcome.cases if case.status == "failed"][:5]:
        say(f"failed: {case.id}: {case.error['message']}")
    if outcome.figures["waiting"]:
        say(f"what waits: interlock inbox --home {home}")
