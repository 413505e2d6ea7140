"""Credentials that something else keeps: a command that prints them, or the keyring of the operating system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from interlock import errors
from interlock.clock import Clock, parse

__all__ = ["Command", "Given", "from_keyring"]

SERVICE = "interlock"
_LONGEST = 65_536


@dataclass(frozen=True)
class Given:
    """A secret, and until when it is good: None when nobody says so, and then it is good for one call."""

    secret: str
    until: datetime | None = None

    def __repr__(self) -> str:
        return f"Given(until={self.until})"


class Command:
    """Runs a command, without a shell, that prints a secret, or JSON {"secret", "expires_at"}.

    `{system}`, `{tool}` and `{case}` in its words are filled in: a command that names the case gives each case a
    secret of its own. What says until when it is good is kept until then; callers at the same time share one run.
    """

    def __init__(self, words: Sequence[str], seconds: float, clock: Clock) -> None:
        self._words, self._seconds, self._clock = tuple(words), seconds, clock
        self._kept: dict[tuple[str, ...], Given] = {}
        self._running: dict[tuple[str, ...], asyncio.Task[Given]] = {}

    async def ask(self, system: str, tool: str, case_id: str) -> str:
        """Raises ConfigurationError that names the system and what went wrong, and never quotes what was printed."""
        words = tuple(_filled(word, system=system, tool=tool, case=case_id) for word in self._words)
        if (kept := self._kept.get(words)) is not None and self._good(kept):
            return kept.secret
        task = self._running.get(words)
        if task is None:
            task = asyncio.create_task(self._run(words, system), name=f"credential of {system}")
            self._running[words] = task
            task.add_done_callback(lambda _: self._running.pop(words, None))
        return (await asyncio.shield(task)).secret  # whoever is cancelled does not take it from the others

    async def close(self) -> None:
        """End the runs that are still going on."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _good(self, given: Given) -> bool:
        return given.until is not None and self._clock.now() < given.until

    async def _run(self, words: tuple[str, ...], system: str) -> Given:
        given = _read(await self._printed(words, system), system)
        if given.until is not None and not self._good(given):
            raise _problem(system, "gave one that has expired")
        self._kept = {key: kept for key, kept in self._kept.items() if self._good(kept)}
        if given.until is not None:
            self._kept[words] = given
        return given

    async def _printed(self, words: tuple[str, ...], system: str) -> bytes:
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(*words, stdin=nothing, stdout=pipe, stderr=nothing)
        except (OSError, ValueError) as exc:
            raise _problem(system, f"could not be run: {type(exc).__name__}") from None
        try:
            async with asyncio.timeout(self._seconds):
                printed, _ = await process.communicate()
        except TimeoutError:
            raise _problem(system, f"took longer than {self._seconds:g} s") from None
        finally:
            await _ended(process)
        if process.returncode != 0:
            raise _problem(system, f"ended with code {process.returncode}")
        return printed


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):  # it may end by itself in this moment
            process.kill()
        await process.wait()


def _read(printed: bytes, system: str) -> Given:
    try:
        text = printed.decode().strip()
        said = json.loads(text) if text.startswith("{") else {"secret": text}
        secret, until = said["secret"], said.get("expires_at")
        time = None if until is None else parse(until)
    except (ValueError, KeyError, TypeError, AttributeError):  # their messages would quote it
        raise _problem(system, 'printed neither a secret nor {"secret", "expires_at"}') from None
    if not isinstance(secret, str) or not secret or len(printed) > _LONGEST:
        raise _problem(system, "printed no secret, or something too long for one")
    return Given(secret, time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC))


def _filled(word: str, **values: str) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _problem(system: str, what: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(
        f"no credential for {system!r}: the setting credentials_command {what}", "run the command by hand"
    )


def from_keyring(names: Sequence[str]) -> str | None:
    """What the keyring holds for the first of some names that it knows, under the service `interlock`. Blocking.

    Raises ConfigurationError when there is no keyring.
    """
    try:
        keyring: Any = import_module("keyring")
        return next((found for name in names if (found := keyring.get_password(SERVICE, name))), None)
    except ImportError:
        raise errors.ConfigurationError("the package keyring is missing", "pip install 'interlock[keyring]'") from None
    except Exception as exc:  # each backend has errors of its own, and may quote what it holds
        what = f"no credential for {names[-1]!r}: the keyring failed with {type(exc).__name__}"
        raise errors.ConfigurationError(what, "see `keyring diagnose`") from None
