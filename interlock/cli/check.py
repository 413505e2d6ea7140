"""`interlock check`: what would go wrong in the project, found before the first case meets it."""

from __future__ import annotations

from typing import Any

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies
from interlock.cli.output import emit, say, table
from interlock.cli.problems import FAILED


def check(home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """Find what would go wrong in the project.

    Tools without scope, tasks nobody can perform, approvals nobody may give, steps nobody reaches, policies that do
    not fit. Ends with 1 when there are errors; warnings are shown only.
    """
    from interlock.cli.session import drive, modelled
    from interlock.graphs.soundness import Finding, findings

    async def work() -> Any:
        async with modelled(home, policies=policies) as plane:
            services, workflows = plane.services, list(plane.registry.latest().values())
            actors = list(services.actors)
            found = findings(workflows, services.tools, actors, services.code_actors, services.settings)
            found += [Finding("error", f"{p.file}:{p.line}", p.message, p.suggestion) for p in plane.policies.check()]
            return found, len(workflows), len(list(services.tools)), len(actors)

    found, workflows, tools, actors = drive(work())
    wrong = [finding for finding in found if finding.level == "error"]
    if as_json:
        emit({"ok": not wrong, "workflows": workflows, "tools": tools, "actors": actors, "findings": found})
    else:
        if found:
            table(("level", "where", "what", "hint"), [(f.level, f.where, f.what, f.hint) for f in found])
        counted = f"{workflows} workflows, {tools} tools, {actors} actors"
        say(f"{counted}: {len(wrong)} errors, {len(found) - len(wrong)} warnings")
    if wrong:
        raise typer.Exit(FAILED)
