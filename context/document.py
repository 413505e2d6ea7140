"""What goes in and what is kept: documents as given, checked, and the chunks that are indexed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypedDict

from interlock import errors
from interlock.clock import iso, parse
from interlock.ids import canonical, digest

__all__ = ["MAX_TEXT", "Chunk", "Document", "Skipped", "Unreadable", "check_source", "parse_document"]

MAX_TEXT = 1_000_000
_MAX_ID, _MAX_TITLE, _MAX_LABEL, _MAX_LABELS, _MAX_METADATA = 512, 1_000, 200, 64, 16_384
_FIELDS = frozenset({"id", "title", "text", "labels", "version", "as_of", "trust", "metadata"})


class Skipped(TypedDict):
    """A document that was not taken, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a document that its source could not read."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Document:
    """A checked document. `version` and `as_of` are None when the source gave none."""

    id: str
    title: str
    text: str
    labels: tuple[str, ...]
    version: str | None
    as_of: str | None
    trust: str
    metadata: dict[str, Any]

    @property
    def content_hash(self) -> str:
        """Equal for equal content. `as_of` is no content: seen again later is not changed."""
        return digest([self.title, self.text, self.labels, self.version, self.trust, self.metadata])


@dataclass(frozen=True, slots=True)
class Chunk:
    """One indexed stretch of one version of a document. `span` is (start, end) in characters of its text."""

    id: str
    source: str
    document_id: str
    title: str
    text: str
    span: tuple[int, int]
    labels: frozenset[str]
    version: str
    as_of: str
    trust: str
    metadata: dict[str, Any]
    sentences: int = 0

    @property
    def hash(self) -> str:
        """SHA-256, in hex, of the text: whoever holds the fact can check it."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def embedded(self) -> str:
        """What the model reads: the title in front of the text."""
        return f"{self.title}. {self.text}" if self.title else self.text


def check_source(source: str) -> str:
    """A source name. Raises InputError."""
    return _words(source, "source", _MAX_ID)


def parse_document(raw: object) -> Document:
    """Check one document as it was given. Raises InputError with the reason."""
    if not isinstance(raw, Mapping):
        raise errors.InputError("a document is a dict", "give {id, title, text, ...}")
    if unknown := sorted(str(key) for key in raw if key not in _FIELDS):
        raise errors.InputError(f"unknown field {unknown[0]!r}", f"known are {', '.join(sorted(_FIELDS))}")
    return Document(
        id=_words(raw.get("id"), "id", _MAX_ID),
        title=_plain(raw.get("title") or "", "title", _MAX_TITLE),
        text=_text(raw.get("text")),
        labels=_labels(raw.get("labels") or ()),
        version=_version(raw.get("version")),
        as_of=_time(raw.get("as_of")),
        trust=_words(raw.get("trust") or "untrusted", "trust", _MAX_LABEL),
        metadata=_metadata(raw.get("metadata") or {}),
    )


def _plain(value: object, what: str, limit: int) -> str:
    if not isinstance(value, str):
        raise errors.InputError(f"{what} is {type(value).__name__}, not text", f"give {what} as a string")
    if len(value) > limit:
        raise errors.InputError(f"{what} has {len(value)} characters", f"at most {limit}")
    if "\0" in value:
        raise errors.InputError(f"{what} holds a NUL character", "is it a binary file?")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise errors.InputError(
            f"{what} is no valid Unicode: {exc.reason}", "decode it with the right encoding"
        ) from exc
    return value


def _words(value: object, what: str, limit: int) -> str:
    text = _plain("" if value is None else value, what, limit)
    if not text.strip():
        raise errors.InputError(f"{what} is missing or empty", f"give {what} as a string")
    if not text.isprintable():
        raise errors.InputError(f"{what} holds a control character", "use printable characters")
    return text


def _text(value: object) -> str:
    text = _plain("" if value is None else value, "text", MAX_TEXT)
    if not text.strip():
        raise errors.InputError("text is missing or empty", "leave the document out, or delete it")
    return text


def _labels(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise errors.InputError("labels is no list", "give a list, as ['role:finance']")
    labels = {_words(label, "label", _MAX_LABEL) for label in value}
    if len(labels) > _MAX_LABELS:
        raise errors.InputError(f"{len(labels)} labels", f"at most {_MAX_LABELS}")
    return tuple(sorted(labels))


def _version(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return None if value is None else _words(value, "version", _MAX_LABEL)


def _time(value: object) -> str | None:
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, (datetime, date)) else _words(value, "as_of", _MAX_LABEL)
    try:
        return iso(parse(text))
    except (ValueError, OverflowError) as exc:
        raise errors.InputError(f"as_of {text!r} is no time", "write it as 2026-01-31T12:00:00Z") from exc


def _metadata(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise errors.InputError("metadata is no dict of names", "give {'site': 'north'}")
    if len(canonical(dict(value))) > _MAX_METADATA:
        raise errors.InputError("metadata is too large", f"at most {_MAX_METADATA} bytes of JSON")
    return dict(value)
