"""The engine lock: one engine per database, held by the operating system, freed even by kill -9."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from filelock import FileLock, Timeout

from interlock import errors

__all__ = ["Address", "EngineLock"]


@dataclass(frozen=True)
class Address:
    """Where the live engine takes commands: loopback host, port, and the token that proves access to the home."""

    host: str
    port: int
    token: str
    pid: int


class EngineLock:
    """The lock of a home folder, and beside it the address of whoever holds it (`engine.json`, mode 0600)."""

    def __init__(self, home: Path) -> None:
        self._file = home / "engine.json"
        self._lock = FileLock(home / "engine.lock", timeout=0, thread_local=False)

    def take(self) -> None:
        """Take the lock, in a home that is made if need be. Raises DatabaseLocked when another engine lives."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Another process that only asks who lives holds the lock for a moment.
            self._lock.acquire(timeout=1)
        except Timeout as exc:
            raise errors.DatabaseLocked(
                f"another engine drives {self._file.parent}",
                "send commands to it (the CLI does), stop it, or use another --home",
            ) from exc
        self._file.unlink(missing_ok=True)

    def publish(self, address: Address) -> None:
        """Tell other processes where to send commands; only the owner of the home may read it."""
        draft = self._file.with_suffix(".tmp")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_bytes(orjson.dumps(asdict(address)))
        draft.replace(self._file)

    def release(self) -> None:
        if self._lock.is_locked:
            self._file.unlink(missing_ok=True)
            self._lock.release()

    def holder(self) -> Address | None:
        """The address of the live engine; None when there is none (a leftover file of a killed one counts as none)."""
        if self._lock.is_locked:
            return None
        try:
            with self._lock.acquire():
                return None
        except Timeout:
            return self._read()

    def _read(self) -> Address | None:
        try:
            return Address(**orjson.loads(self._file.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


def new_token() -> str:
    return secrets.token_urlsafe(32)
