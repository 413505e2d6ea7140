"""The hash chain of the ledger: pure functions over events, no database.

A row's hash covers its header, the hash of its payload and the hash of the row before it. The payload
itself is hashed with a random salt and stored apart, so that it can be erased while the chain stays whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from interlock import errors
from interlock.ids import canonical

__all__ = ["GENESIS", "SALT_BYTES", "STREAM", "Event", "Head", "Header", "payload_hash", "row_hash"]

STREAM = "main"
GENESIS = "0" * 64
SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Event:
    """One ledger event before it has a place in the chain.

    `at` comes from `clock.iso`. An event whose (tenant, identity) is already there is not written again.
    `body` is the canonical JSON of `data`, taken at once. Raises InputError when `data` is no JSON, and on a header
    that is no text: the database would store another value than the one that was hashed.
    """

    type: str
    tenant: str
    case_id: str | None
    actor: str
    data: dict[str, Any]
    at: str
    identity: str | None = None
    schema_version: int = 1
    body: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("tenant", self.tenant), ("actor", self.actor), ("case_id", self.case_id or "")):
            if not isinstance(value, str):
                raise errors.InputError(f"{name} {value!r} of {self.type} is no text", f"give the {name} as a string")
        object.__setattr__(self, "body", canonical(self.data))

    def named(self, identity: str) -> Event:
        """The same event under an identity."""
        twin = object.__new__(Event)  # `replace` would make the body again, and `copy` is slower still
        for name in self.__slots__:
            object.__setattr__(twin, name, getattr(self, name))
        object.__setattr__(twin, "identity", identity)
        return twin


class Header(NamedTuple):
    """What the chain says of an event besides its payload."""

    stream: str
    seq: int
    at: str
    type: str
    schema_version: int
    tenant: str
    case_id: str | None
    actor: str
    identity: str | None


class Head(NamedTuple):
    """The last row of a stream: where the next one is chained to."""

    seq: int = 0
    hash: str = GENESIS


def payload_hash(salt: bytes, data: bytes) -> str:
    return hashlib.sha256(salt + data).hexdigest()


def row_hash(prev: str, header: Header, payload: str) -> str:
    """SHA-256, in hex, of the canonical JSON of the header's fields, the payload's hash and `prev`, in this order."""
    return hashlib.sha256(orjson.dumps([*header, payload, prev])).hexdigest()
