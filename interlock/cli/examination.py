"""The examinations of `interlock doctor`: each looks at one thing, and none stops the others."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from interlock import errors
from interlock.cli.session import modelled, reading
from interlock.context.embed import embedder_of
from interlock.graphs.engine.lock import EngineLock
from interlock.settings import Settings
from interlock.storage.integrity import damage
from interlock.tools.credentials import Credentials

__all__ = ["Finding", "examine"]

Look = Callable[[Path], str | Awaitable[str]]

_NOTHING_YET = "nothing there yet; `interlock demo` or `interlock run` makes it"


@dataclass(frozen=True)
class Finding:
    """What one examination found; `hint` is empty where nothing is wrong."""

    what: str
    ok: bool
    found: str
    hint: str = ""


async def examine(home: Path, policies: Path | None = None) -> list[Finding]:
    """All examinations, in an order in which each may rely on the ones before it."""
    looks: dict[str, Look] = {**_EXAMINATIONS, "project": lambda where: _project(where, policies)}
    return [await _one(what, look, home) for what, look in looks.items()]


async def _one(what: str, look: Look, home: Path) -> Finding:
    try:
        found = look(home)
        return Finding(what, True, await found if isinstance(found, Awaitable) else found)
    except errors.InterlockError as exc:
        return Finding(what, False, exc.message, exc.hint)
    except Exception as exc:  # a project may raise whatever it likes; the other examinations go on
        return Finding(what, False, f"{type(exc).__name__}: {exc}", "see the message; the project's setup raised it")


def _python(home: Path) -> str:
    if not (3, 11) <= sys.version_info[:2] < (3, 15):
        raise errors.ConfigurationError(f"Python {platform.python_version()}", "use Python 3.11 to 3.14")
    return f"{platform.python_version()} at {sys.executable}"


def _packages(home: Path) -> str:
    needed = [re.split(r"[^\w.\-]", line)[0] for line in metadata.requires("interlock") or () if ";" not in line]
    missing = [name for name in needed if not _installed(name)]
    if missing:
        raise errors.ConfigurationError(f"missing: {', '.join(missing)}", "run `make demo`, or install interlock again")
    return f"interlock {metadata.version('interlock')}, langgraph {metadata.version('langgraph')}, {len(needed)} in all"


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _home(home: Path) -> str:
    if not home.exists():
        return _NOTHING_YET
    if not home.is_dir():
        raise errors.ConfigurationError(f"{home} is no folder", "name another folder with --home")
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise errors.DiskFull(f"{home} cannot be written by this user", f"chmod u+rwx {home}, or name another --home")
    return str(home.resolve())


def _settings(home: Path) -> str:
    chosen = Settings.load(home).model_fields_set
    return f"set: {', '.join(sorted(chosen))}" if chosen else "all defaults"


def _credentials(home: Path) -> str:
    file = Settings.load(home).credentials_file
    return repr(Credentials(file)) if file else "no file; the environment and systems in this process"


def _database(home: Path) -> str:
    file = home / "interlock.db"
    if not file.exists():
        return _NOTHING_YET
    if wrong := damage(file):
        raise errors.DatabaseCorrupt(
            "; ".join(wrong[:3]), "restore a backup; keep the file for `sqlite3 FILE .recover`"
        )
    return f"sound, {file.stat().st_size / 2**20:.1f} MB"


async def _ledger(home: Path) -> str:
    if not (home / "interlock.db").exists():
        return _NOTHING_YET
    async with reading(home) as plane:
        report = await plane.ledger.verify()
    if not report.ok:
        hint = "compare with a backup or an export; events before that one are as they were written"
        raise errors.DatabaseCorrupt(f"broken at event {report.first_bad}: {report.why}", hint)
    return f"{report.events} events, verified"


def _engine(home: Path) -> str:
    if not home.is_dir():
        return "none lives"
    holder = EngineLock(home).holder()
    return "none lives" if holder is None else f"lives (pid {holder.pid}); changing commands are sent to it"


def _model(home: Path) -> str:
    embedder = embedder_of(Settings.load(home))
    embedder.close()
    return f"embeddings by {embedder.name}"


async def _project(home: Path, policies: Path | None) -> str:
    async with modelled(home, policies=policies) as plane:
        await plane.ready()
        tools, workflows = len(list(plane.services.tools)), sorted(plane.registry.latest())
        return f"{plane.services.settings.project}: {', '.join(workflows)}; {tools} tools; its systems answer"


_EXAMINATIONS: dict[str, Look] = {
    "python": _python,
    "packages": _packages,
    "home": _home,
    "settings": _settings,
    "credentials": _credentials,
    "database": _database,
    "ledger": _ledger,
    "engine": _engine,
    "model": _model,
}
