"""`interlock switch`: turn an agent, tool, system, workflow, tenant or everything off, on, or to draining."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, Comment, Home, Json, Policies, Shadow
from interlock.cli.output import emit, page, say

Target = Annotated[str | None, typer.Argument(help="agent:x, tool:y, system:z, workflow:w, tenant:t or all.")]
State = Annotated[str | None, typer.Argument(help="on, off or drain.")]
Who = Annotated[str | None, typer.Option("--by", envvar="INTERLOCK_BY", help="Who does this, as person:ana.")]

History = Annotated[bool, typer.Option("--history", help="Every setting, of TARGET or of all, the oldest first.")]

_COLUMNS = ("switch", "state", "by", "comment", "at")
_HISTORY = ("switch", "from", "to", "by", "comment", "at")


def switch(
    target: Target = None,
    state: State = None,
    home: Home = DEFAULT_HOME,
    by: Who = None,
    comment: Comment = "",
    history: History = False,
    policies: Policies = None,
    shadow: Shadow = None,
    as_json: Json = False,
) -> None:
    """Turn actors, tools, systems or all off and on.

    It takes effect before the next tool call. Without arguments: the switches that were set.
    """
    if history:
        return _history(home, policies, target, as_json)
    if target is None:
        return _list(home, policies, as_json)
    if state is None or by is None:
        raise typer.BadParameter("give TARGET, a state (on, off, drain) and --by")
    return _set(home, {"policies": policies, "shadow": shadow}, (target, state, by, comment), as_json)


def _list(home: Any, policies: Any, as_json: bool) -> None:
    from interlock.cli.session import drive, reading

    async def work() -> Any:
        async with reading(home, policies=policies) as plane:
            return plane.switches.list()

    found = drive(work())
    page(found, None, as_json, _COLUMNS, [(s.target, s.state, s.by, s.comment, s.at) for s in found])


def _history(home: Any, policies: Any, target: str | None, as_json: bool) -> None:
    from interlock.cli.session import drive, reading

    async def work() -> Any:
        async with reading(home, policies=policies) as plane:
            return await plane.switches.history(target)

    found = drive(work())
    page(found, None, as_json, _HISTORY, [(s.target, s.before, s.state, s.by, s.comment, s.at) for s in found])


def _set(home: Any, sets: dict[str, Any], wanted: tuple[str, str, str, str], as_json: bool) -> None:
    from interlock.cli.change import change
    from interlock.cli.session import drive

    target, state, by, comment = wanted
    drive(change(home, "switch", **sets, target=target, state=state, by=by, comment=comment))
    say(f"{target} is {state}")
    if as_json:
        emit({"target": target, "state": state, "by": by, "comment": comment})
