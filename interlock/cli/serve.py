"""`interlock serve` (the HTTP interface of a home, on loopback) and `interlock dev` (Studio)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Policies, Shadow
from interlock.cli.output import say

if TYPE_CHECKING:
    from uvicorn import Server

Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")]
Reference = Annotated[Path | None, typer.Option("--reference", help="Folder of the project's reference data.")]
Config = Annotated[Path, typer.Option("--config", help="The langgraph.json of the project.")]


def serve(
    home: Home = DEFAULT_HOME,
    port: Port = 8700,
    policies: Policies = None,
    shadow: Shadow = None,
    reference: Reference = None,
) -> None:
    """Serve a home over HTTP on 127.0.0.1.

    Drives its cases, and answers under /control, until it is stopped.
    """
    import uvicorn

    from interlock.cli.session import drive, working
    from interlock.server.app import create_app

    async def work() -> None:
        async with working(home, policies=policies, shadow=shadow, reference=reference) as plane:
            await plane.ready()
            say(f"serving {home} at http://127.0.0.1:{port}")
            config = uvicorn.Config(create_app(plane), host="127.0.0.1", port=port, log_level="warning")
            await _until_stopped(uvicorn.Server(config))

    drive(work())


async def _until_stopped(server: Server) -> None:
    """Serve; when the command is stopped, requests in flight end first."""
    serving = asyncio.ensure_future(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


def dev(
    home: Home = DEFAULT_HOME,
    port: Port = 2024,
    config: Config = Path("langgraph.json"),
    policies: Policies = None,
    shadow: Shadow = None,
) -> None:
    """Open the graphs in Studio.

    Runs `langgraph dev` in guest mode: for looking and trying, not crash-safe.
    """
    from importlib.util import find_spec

    from interlock.errors import ConfigurationError

    if find_spec("langgraph_cli") is None or find_spec("langgraph_api") is None:
        raise ConfigurationError("langgraph-cli[inmem] is not installed", "pip install 'langgraph-cli[inmem]'")
    if not config.is_file():
        raise ConfigurationError(f"there is no {config}", "name the langgraph.json of your project with --config")
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--host", "127.0.0.1", "--port", str(port), "--no-browser"]
    surroundings = {**os.environ, "INTERLOCK_HOME": str(home), "LANGGRAPH_CLI_NO_ANALYTICS": "1"}
    sets = {"INTERLOCK_POLICIES": policies, "INTERLOCK_SHADOW": shadow}
    surroundings |= {name: str(folder.resolve()) for name, folder in sets.items() if folder is not None}
    ended = subprocess.run([*command, "--config", str(config)], env=surroundings, check=False)  # noqa: S603  # our own command
    raise typer.Exit(ended.returncode)
