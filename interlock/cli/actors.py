"""`interlock actors`: who performs tasks and who decides, as the project registers them, and who stands in for whom."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, By, Comment, Home, Json, Policies
from interlock.cli.output import emit, page, pairs

app = typer.Typer(help="Agents and persons of the project, and delegations.", invoke_without_command=True)

_COLUMNS = ("actor", "kind", "skills", "roles", "scopes", "authorities", "capacity", "owner")
_DELEGATIONS = ("id", "giver", "taker", "authority", "from_at", "until_at", "by", "revoked_at", "comment")


@app.callback()
def actors(context: typer.Context, home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """Agents and persons, with skills, roles, scopes and authorities."""
    if context.invoked_subcommand is not None:
        return
    from interlock.cli.session import drive, modelled

    async def work() -> list[dict[str, Any]]:
        async with modelled(home, policies=policies) as plane:
            return [_shown(actor) for actor in plane.services.actors]

    found = drive(work())
    page(found, None, as_json, _COLUMNS, [list(actor.values()) for actor in found])


@app.command()
def delegate(
    giver: Annotated[str, typer.Argument(help="Whose authority, as person:ana.")],
    taker: Annotated[str, typer.Argument(help="Who stands in.")],
    until: Annotated[str, typer.Option("--until", help="Before when, as 2026-08-15T00:00:00Z.")],
    by: By,
    start: Annotated[str | None, typer.Option("--from", help="Since when; now if left out.")] = None,
    authority: Annotated[str | None, typer.Option("--authority", help="This one only; else everything.")] = None,
    comment: Comment = "",
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Let a person decide in another one's place for some time. Who stands in cannot pass it on."""
    given = {"giver": giver, "taker": taker, "until": until, "start": start, "authority": authority}
    _changed(home, as_json, "entrust", policies=policies, **given, by=by, comment=comment)


@app.command()
def revoke(
    delegation: Annotated[str, typer.Argument(help="Its id, from `interlock actors delegations`.")],
    by: By,
    comment: Comment = "",
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """End a delegation now; what was decided under it and not carried out is void."""
    _changed(home, as_json, "revoke", policies=policies, delegation=delegation, by=by, comment=comment)


@app.command()
def delegations(home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """Every delegation that was ever made."""
    from interlock.cli.session import drive, reading

    async def work() -> list[Any]:
        async with reading(home, policies=policies) as plane:
            return list(plane.delegations.list())

    found = drive(work())
    page(found, None, as_json, _DELEGATIONS, [[getattr(one, name) for name in _DELEGATIONS] for one in found])


def _changed(home: Any, as_json: bool, command: str, **given: Any) -> None:
    from interlock.cli.change import change
    from interlock.cli.session import drive

    made = drive(change(home, command, **given))["delegation"]
    (emit if as_json else pairs)(made)


def _shown(actor: Any) -> dict[str, Any]:
    authorities = getattr(actor, "authorities", {})
    return {
        "id": actor.id,
        "kind": getattr(actor, "kind", "person"),
        "skills": sorted(actor.skills),
        "roles": sorted(actor.roles),
        "scopes": sorted(actor.scopes),
        "authorities": [f"{name} {limit}" for name, limit in authorities.items()],
        "capacity": actor.capacity,
        "owner": actor.owner,
    }
