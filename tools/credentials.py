"""Credentials of outside systems. Only the gateway holds them; they are cut out of everything that is written down.

`INTERLOCK_CREDENTIAL_<SYSTEM>` in the environment wins over a YAML file (`system: secret`) of mode 0600, and that
over what a system in this process offers. A secret once known is cut out for as long as the process lives.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import yaml

from interlock import errors

__all__ = ["HIDDEN", "Credential", "Credentials"]

HIDDEN = "[credential]"
_PREFIX = "INTERLOCK_CREDENTIAL_"
_SHORTEST = 4
_SHORTEST_INSIDE = 10


class Credential(str):
    """A secret. It is a string for the tool that sends it; its repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


class Credentials:
    """Raises ConfigurationError when the file is readable by others, or is no mapping of names to strings."""

    def __init__(self, file: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._file = _read(file) if file is not None else {}
        self._offered: dict[str, str] = {}
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def offer(self, system: str, secret: str) -> None:
        """The secret of a system that lives in this process, for when neither environment nor file has one.

        A later offer replaces an earlier one. Raises ConfigurationError when it is no text, or empty.
        """
        if not isinstance(secret, str) or not secret:
            raise errors.ConfigurationError(f"no secret was offered for {system!r}", "give a string")
        self._offered[system] = secret

    def of(self, system: str) -> Credential | None:
        """The credential of a system, or None when there is none."""
        named = self._environ.get(_PREFIX + re.sub(r"[^A-Z0-9]", "_", system.upper()))
        secret = named or self._file.get(system) or self._offered.get(system)
        return Credential(secret) if secret else None

    def redact(self, value: Any) -> Any:
        """The same JSON-like value with every known secret replaced, in keys as well."""
        known = self._known()
        return value if known is None else _without(value, known)

    def _known(self) -> re.Pattern[str] | None:
        """Finds every spelling of every secret that there is, or was: one that was replaced is still one."""
        named = [self._environ[name] for name in self._environ if name.startswith(_PREFIX)]
        now = {secret for secret in [*named, *self._file.values(), *self._offered.values()] if len(secret) >= _SHORTEST}
        if not now <= self._secrets:
            self._secrets |= now
            forms = {form for secret in self._secrets for form in _spellings(secret)}
            self._pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))
        return self._pattern

    def __repr__(self) -> str:
        self._known()
        return f"Credentials({len(self._secrets)} known)"


def _spellings(secret: str) -> set[str]:
    """How a secret may appear in addresses, headers, JSON and messages."""
    raw = secret.encode()
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], raw.hex()}
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    encoded = {alphabet(raw).decode().rstrip("=") for alphabet in (base64.b64encode, base64.urlsafe_b64encode)}
    return plain | in_json | encoded | set(_inside_base64(raw))


def _inside_base64(raw: bytes) -> Iterator[str]:
    """The letters of a long secret in the encoding of a longer text, as `user:secret`, wherever it stands in it."""
    for lead in range(3):
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            letters = alphabet(bytes(lead) + raw).decode()
            whole = letters[(lead * 8 + 5) // 6 : (lead + len(raw)) * 8 // 6]
            if len(whole) >= _SHORTEST_INSIDE:
                yield whole


def _without(value: Any, known: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return known.sub(HIDDEN, value)
    if isinstance(value, Mapping):
        return {_without(key, known): _without(item, known) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, known) for item in value]
    return value


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
