"""`interlock map`: the picture of a workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies
from interlock.cli.output import emit, save

Format = Annotated[Literal["mermaid", "svg"], typer.Option("--format", help="Text for Mermaid, or a picture.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write here instead of to stdout.")]


def show_map(
    workflow: Annotated[str, typer.Argument(help="Name of the workflow.")],
    home: Home = DEFAULT_HOME,
    format: Format = "mermaid",  # the name of the option
    output: Output = None,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Draw a workflow.

    Steps and ways, with owner, skills, tools, deadlines, authorities and performers.
    """
    from interlock.cli.session import drive, modelled
    from interlock.graphs.drawing import svg
    from interlock.graphs.map import describe, mermaid

    async def work() -> Any:
        async with modelled(home, policies=policies) as plane:
            entry = plane.registry.get(workflow)
            actors = [a for a in plane.services.actors if a.id not in plane.services.code_actors]
            return describe(entry.workflow, entry.graph, actors)

    chart = drive(work())
    if as_json:
        return emit(chart.as_json())
    text = svg(chart) if format == "svg" else mermaid(chart)
    return print(text, end="") if output is None else save(text, output)
