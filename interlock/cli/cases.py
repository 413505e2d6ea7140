"""`interlock cases`: list, show, cancel, pause, resume, fork."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, By, Comment, Cursor, Home, Json, Limit, Policies, Shadow, Workflow
from interlock.cli.output import cell, emit, page, pairs, plain

app = typer.Typer(help="Cases: list, show, cancel, pause, resume, fork.", invoke_without_command=True)

Id = Annotated[str, typer.Argument(metavar="CASE", help="Id of the case.")]
Status = Annotated[str | None, typer.Option("--status", help="queued, running, waiting, completed, failed, cancelled.")]
Facts = Annotated[bool, typer.Option("--facts", help="Instead: every fact and tool result, with source and trust.")]
_FACTS = ("kind", "source", "at", "trust", "labels", "value")
_LONGEST = 120
_STATUSES = ("queued", "running", "waiting", "completed", "failed", "cancelled")
_COLUMNS = ("case", "workflow", "status", "waits for", "key", "started")


@app.callback()
@app.command("list")
def list_cases(
    ctx: typer.Context,
    home: Home = DEFAULT_HOME,
    status: Status = None,
    workflow: Workflow = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Cases in start order."""
    if ctx.invoked_subcommand is not None:
        return
    from interlock.cli.session import drive, reading

    if status is not None and status not in _STATUSES:
        raise typer.BadParameter(f"{status!r} is none of {', '.join(_STATUSES)}", param_hint="--status")

    async def work() -> Any:
        async with reading(home, policies=policies) as plane:
            return await plane.cases(status, workflow, limit, cursor)

    found = drive(work())
    rows = [(c.id, c.workflow, c.status, _waits(c), c.key, c.started_at) for c in found.items]
    page(found.items, found.cursor, as_json, _COLUMNS, rows)


@app.command()
def show(
    case: Id, home: Home = DEFAULT_HOME, facts: Facts = False, policies: Policies = None, as_json: Json = False
) -> None:
    """One case: input, result, what it waits for; the objects it holds, and who waits for them."""
    from interlock.cli.session import drive
    from interlock.cli.showing import case_facts, show_case

    if facts:
        found = drive(case_facts(home, case, policies=policies))
        rows = [(f["kind"], f["source"], f["at"], f["trust"], f["labels"], _value(f)) for f in found]
        return page(found, None, as_json, _FACTS, rows)
    return _show(drive(show_case(home, case, policies=policies)), as_json)


@app.command()
def cancel(
    case: Id,
    by: By,
    home: Home = DEFAULT_HOME,
    comment: Comment = "",
    policies: Policies = None,
    shadow: Shadow = None,
    as_json: Json = False,
) -> None:
    """End a case now; effects in flight are waited for."""
    _change(home, "cancel", policies, as_json, shadow=shadow, case_id=case, by=by, comment=comment)


@app.command()
def pause(
    case: Id,
    by: By,
    home: Home = DEFAULT_HOME,
    comment: Comment = "",
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Stop driving a case at its next step."""
    _change(home, "pause", policies, as_json, case_id=case, by=by, comment=comment)


@app.command()
def resume(
    case: Id,
    by: By,
    home: Home = DEFAULT_HOME,
    comment: Comment = "",
    policies: Policies = None,
    shadow: Shadow = None,
    as_json: Json = False,
) -> None:
    """Drive a paused case again, until it has settled."""
    _change(home, "resume", policies, as_json, shadow=shadow, case_id=case, by=by, comment=comment)


@app.command()
def fork(
    case: Id,
    by: By,
    home: Home = DEFAULT_HOME,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="From this checkpoint; else the last.")] = None,
    comment: Comment = "",
    policies: Policies = None,
    shadow: Shadow = None,
    as_json: Json = False,
) -> None:
    """A new case from a checkpoint of another; its writing tools act in shadow: nothing happens outside."""
    _change(
        home, "fork", policies, as_json, shadow=shadow, case_id=case, checkpoint_id=checkpoint, by=by, comment=comment
    )


def _change(home: Any, command: str, policies: Any, as_json: bool, **params: Any) -> None:
    from interlock.cli.change import change
    from interlock.cli.session import drive

    _show(drive(change(home, command, policies=policies, **params)), as_json)


def _show(case: Any, as_json: bool) -> None:
    if as_json:
        return emit(case)
    shown = plain(case)
    return pairs({name: value for name, value in shown.items() if value not in (None, [], {})})


def _value(fact: dict[str, Any]) -> str:
    """The beginning of a value; that of a document with labels is not there."""
    text = "-" if fact["value"] is None else cell(fact["value"])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _waits(case: Any) -> str:
    return ", ".join(f"{w.kind} {w.action}".strip() for w in case.waiting_for)
