"""`interlock actors`: who performs tasks and who decides, as the project registers them."""

from __future__ import annotations

from typing import Any

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies
from interlock.cli.output import page

app = typer.Typer(help="Agents and persons of the project.", invoke_without_command=True)

_COLUMNS = ("actor", "kind", "skills", "roles", "scopes", "authorities", "capacity", "owner")


@app.callback()
def actors(home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """Agents and persons, with skills, roles, scopes and authorities."""
    from interlock.cli.session import drive, modelled

    async def work() -> list[dict[str, Any]]:
        async with modelled(home, policies=policies) as plane:
            return [_shown(actor) for actor in plane.services.actors]

    found = drive(work())
    page(found, None, as_json, _COLUMNS, [list(actor.values()) for actor in found])


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
