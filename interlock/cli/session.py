"""Opens what commands work on: a home's plane, with or without the project that fills it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer

from interlock.cli.output import say
from interlock.cli.problems import STOPPED, TERMINATED
from interlock.plane import ControlPlane, run
from interlock.settings import Settings

__all__ = ["database", "drive", "modelled", "reading", "working"]

T = TypeVar("T")


def database(home: Path) -> str:
    return f"sqlite:///{home / 'interlock.db'}"


@asynccontextmanager
async def reading(home: Path, *, policies: Path | None = None) -> AsyncIterator[ControlPlane]:
    """The plane of a home, read-only: works beside a live engine. Raises NotFound when there is no database."""
    async with ControlPlane.open(database(home), policies=policies, read_only=True) as plane:
        yield plane


@asynccontextmanager
async def working(
    home: Path,
    *,
    policies: Path | None = None,
    shadow: Path | None = None,
    reference: Path | None = None,
    concurrency: int | None = None,
) -> AsyncIterator[ControlPlane]:
    """The plane of a home with its project, as the one engine of that home. Raises DatabaseLocked."""
    settings = Settings.load(home)
    if concurrency is not None:
        settings = settings.model_copy(update={"concurrency": concurrency})
    async with (
        ControlPlane.open(database(home), policies=policies, shadow=shadow, settings=settings) as plane,
        settings.resolve("project")(plane, reference=reference),
        _reloading(plane),
    ):
        with _logged_without_credentials(plane):
            yield plane


@contextmanager
def _logged_without_credentials(plane: ControlPlane) -> Iterator[None]:
    handlers = [*logging.getLogger().handlers, *filter(None, [logging.lastResort])]
    guard = plane.log_filter
    for handler in handlers:
        handler.addFilter(guard)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(guard)


@asynccontextmanager
async def _reloading(plane: ControlPlane) -> AsyncIterator[None]:
    """SIGHUP: the policies are read again, and taken if they are valid."""
    loop, turns = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def reload() -> None:
        turn = asyncio.ensure_future(_reload(plane))
        turns.add(turn)
        turn.add_done_callback(turns.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        await asyncio.gather(*turns)


async def _reload(plane: ControlPlane) -> None:
    named = {"policies": plane.policies, "shadow": plane.policies.shadow}
    for name, policies in named.items():
        if policies is None:
            continue
        problems = await policies.reload()
        for problem in problems:
            say(str(problem))
        say(f"{name}: {'not taken; still' if problems else 'now'} version {policies.version}")


@asynccontextmanager
async def modelled(home: Path, *, policies: Path | None = None) -> AsyncIterator[ControlPlane]:
    """The project of a home on a plane in memory: to look at tools, actors, workflows and policies."""
    settings = Settings.load(home).model_copy(update={"shadow": None})
    async with (
        ControlPlane.open(":memory:", policies=policies, settings=settings) as plane,
        settings.resolve("project")(plane, reference=None),
    ):
        yield plane


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work. Ctrl-C and SIGTERM drain: finished steps are kept, and the plane is closed."""
    return run(_stoppable(work))


async def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    terminated: list[bool] = []

    def stop() -> None:  # a second signal does not cut the draining short
        if not terminated:
            terminated.append(True)
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if not terminated:
            raise
        say(STOPPED)
        raise typer.Exit(TERMINATED) from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
