"""Ids, canonical JSON and digests: one definition of each, used by every layer."""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from typing import Any, NamedTuple

import orjson

from interlock import errors

_NAMESPACE = uuid.UUID("6f5b1f0e-3c1f-5d0a-9a56-1e8f2a4f7c11")
_ACTOR = re.compile(r"(agent|person):[A-Za-z0-9][A-Za-z0-9_.\-]{0,79}")
_TOOL = re.compile(r"[a-z0-9_.\-]{1,60}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,79}")


class Reason(NamedTuple):
    """Why a rule decided as it did: the policy's id and a sentence for people."""

    policy: str
    text: str


def uuid7(at_ms: int | None = None) -> str:
    """A time-ordered UUID (RFC 9562, version 7) from Unix milliseconds."""
    ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    value = (ms & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


def keyed_id(*parts: str) -> str:
    """A UUID (version 5) that is the same for the same parts, whatever they contain."""
    return str(uuid.uuid5(_NAMESPACE, orjson.dumps(parts).decode()))


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8. Raises InputError on what JSON cannot say."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
    except TypeError as exc:
        raise errors.InputError(
            f"not representable as JSON: {exc}", "use strings, numbers, booleans, lists and dicts"
        ) from exc


def digest(value: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value)).hexdigest()


def effect_key(case_id: str, checkpoint_ns: str, tool: str, call: int | str) -> str:
    """The identity of one tool call: the same on retry, resume and after a crash.

    `call` is the how-manieth call of the tool in its task (from 0), or the caller's `key=`.
    """
    slot = f"#{call}" if isinstance(call, int) else f"={call}"
    return digest([case_id, checkpoint_ns, tool, slot])


def check_actor(value: str) -> str:
    return _checked(_ACTOR, value, "actor id", "write agent:<name> or person:<name>")


def check_tool(value: str) -> str:
    return _checked(_TOOL, value, "tool name", "use a-z, 0-9, '_', '.', '-'; at most 60 characters")


def check_name(value: str) -> str:
    return _checked(_NAME, value, "name", "use letters, digits, '_', '.', '-'; at most 80 characters")


def _checked(pattern: re.Pattern[str], value: str, what: str, hint: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise errors.InputError(f"{value!r} is no valid {what}", hint)
    return value
