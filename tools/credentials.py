"""Credentials of outside systems. Only a tool that is being run gets one; they are cut out of everything written down.

A credential of a tool goes before one of its system. Sources in their order: `INTERLOCK_CREDENTIAL_<NAME>` in the
environment, a YAML file (`name: secret`) of mode 0600, the keyring, a command, what a system in this process offers.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from interlock import errors
from interlock.tools.redaction import HIDDEN, Redaction
from interlock.tools.vault import Command, from_keyring

__all__ = ["HIDDEN", "Credential", "Credentials"]

_PREFIX = "INTERLOCK_CREDENTIAL_"


class Credential(str):
    """A secret. It is a string for the tool that sends it; its repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


class Credentials:
    """Raises ConfigurationError when the file is readable by others, or is no mapping of names to strings."""

    def __init__(
        self,
        file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        keyring: bool = False,
        command: Command | None = None,
        hidden: Iterable[str] = (),
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._file = _read(file) if file is not None else {}
        self._offered: dict[str, str] = {}
        self._keyring, self._command = keyring, command
        self._redaction = Redaction()
        self._seen: frozenset[str] = frozenset()
        self._redaction.learn(hidden)

    def offer(self, system: str, secret: str) -> None:
        """The secret of a system that lives in this process, for when no other source has one.

        A later offer replaces an earlier one. Raises ConfigurationError when it is no text, or empty.
        """
        if not isinstance(secret, str) or not secret:
            raise errors.ConfigurationError(f"no secret was offered for {system!r}", "give a string")
        self._offered[system] = secret

    def of(self, system: str, tool: str = "") -> Credential | None:
        """What environment, file or offer have for a tool or its system; None when they have nothing."""
        secret = self._written(tool, system) or self._offered.get(tool) or self._offered.get(system)
        return Credential(secret) if secret else None

    async def fetch(self, system: str, tool: str, case_id: str) -> Credential | None:
        """The credential for one call of a tool, from whatever source has it; None when none has.

        Raises ConfigurationError that names system and source when a source fails; it never quotes the secret.
        """
        secret = self._written(tool, system) or await self._kept(tool, system, case_id)
        if not secret:
            return self.of(system, tool)
        self._redaction.learn([secret])
        return Credential(secret)

    def redact(self, value: Any) -> Any:
        """The same JSON-like value with every known secret replaced, in keys as well."""
        self._look()
        return self._redaction.clean(value)

    def holds(self, value: Any) -> bool:
        """Whether a known secret stands in a JSON-like value, in any of its spellings."""
        return bool(self.redact(value) != value)

    async def close(self) -> None:
        if self._command is not None:
            await self._command.close()

    def _written(self, *names: str) -> str | None:
        for name in filter(None, names):
            variable = _PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())
            if secret := self._environ.get(variable) or self._file.get(name):
                return secret
        return None

    async def _kept(self, tool: str, system: str, case_id: str) -> str | None:
        if self._keyring and (found := await asyncio.to_thread(from_keyring, [tool, system])):
            return found
        return await self._command.ask(system, tool, case_id) if self._command is not None else None

    def _look(self) -> None:
        """Every secret that there is, or was: one that was replaced is still one."""
        named = (self._environ[name] for name in self._environ if name.startswith(_PREFIX))
        now = frozenset([*named, *self._file.values(), *self._offered.values()])
        if now != self._seen:
            self._seen = now
            self._redaction.learn(now)

    def __repr__(self) -> str:
        self._look()
        return f"Credentials({len(self._redaction)} known)"


def _read(file: Path) -> dict[str, str]:
    try:
        with file.open(encoding="utf-8") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise errors.ConfigurationError(f"{file} can be read by others (mode {mode:o})", f"chmod 600 {file}")
            content = yaml.safe_load(stream) or {}
    except OSError as exc:
        raise errors.ConfigurationError(f"{file} cannot be read: {exc.strerror}", "give a readable file") from exc
    except (yaml.YAMLError, UnicodeDecodeError):  # their messages would quote the file
        raise errors.ConfigurationError(f"{file} is no YAML", "write lines of `system: secret`") from None
    if not isinstance(content, dict) or not all(isinstance(v, str) for pair in content.items() for v in pair):
        raise errors.ConfigurationError(f"{file} is no mapping of systems to secrets", "write `system: secret`")
    return content
