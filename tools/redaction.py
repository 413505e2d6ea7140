"""Cuts known secrets out of whatever is written down, in every spelling in which they may appear there."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from html.entities import codepoint2name
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = ["HIDDEN", "Redaction"]

HIDDEN = "[credential]"
_SHORTEST = 4
_SHORTEST_INSIDE = 10
_ESCAPE = re.compile("%[0-9A-F]{2}")
# Only a text that holds one of these can hold a secret in another spelling than the usual ones.
_ESCAPES = re.compile(r"[\\%&\n]")
# The repetitions are bounded, so that no text takes longer than its length.
_SLASHES = r"\\{1,8}"
_BREAK = rf"(?:[ \t]{{0,80}}(?:\r?\n|(?:{_SLASHES}r)?{_SLASHES}n)[ \t]{{0,80}})?"


class Redaction:
    """The secrets that are known. One once known is cut out for as long as the process lives."""

    def __init__(self) -> None:
        self._known: dict[str, _Secret] = {}

    def learn(self, secrets: Iterable[str]) -> None:
        """What is shorter than four characters would be cut out of everything, and is let be."""
        new = [secret for secret in secrets if len(secret) >= _SHORTEST and secret not in self._known]
        if new:  # the longest first: one may be a part of another one
            known = {**self._known, **{secret: _Secret(secret) for secret in new}}
            self._known = {secret: known[secret] for secret in _longest_first(known)}

    def clean(self, value: Any) -> Any:
        """The same JSON-like value with every known secret replaced, in keys as well."""
        for secret in self._known.values():
            value = _without(value, secret)
        return value

    def __len__(self) -> int:
        return len(self._known)


class _Secret:
    """One secret as patterns: made when they are first needed, which of most secrets one is not."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    @cached_property
    def _usual(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, _longest_first(_spellings(self._secret)))))

    @cached_property
    def _anyhow(self) -> re.Pattern[str]:
        encoded = set(_encoded(self._secret.encode()))
        begins = "".join(sorted({re.escape(text[0]) for text in (self._secret, *encoded)}))
        ways = [_BREAK.join(map(_letter, self._secret)), *map(_BREAK.join, map(_code, _longest_first(encoded)))]
        return re.compile(rf"(?=[{begins}%\\&])(?:{'|'.join(ways)})")

    def cut(self, text: str) -> str:
        cut = self._usual.sub(HIDDEN, text)
        return self._anyhow.sub(HIDDEN, cut) if _ESCAPES.search(cut) else cut


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(texts, key=lambda text: (-len(text), text))


def _spellings(secret: str) -> set[str]:
    """How a secret usually appears in addresses, headers, JSON, markup and messages."""
    plain = {secret, repr(secret)[1:-1], html.escape(secret), html.escape(secret, quote=False)}
    in_url = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    in_url |= {_ESCAPE.sub(lambda found: found[0].lower(), text) for text in in_url}
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return plain | in_url | in_json | set(_encoded(secret.encode()))


def _encoded(raw: bytes) -> Iterator[str]:
    """In hexadecimal and base64; of a long secret also its letters in the encoding of a longer text: `user:secret`."""
    yield from (raw.hex(), raw.hex().upper())
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        yield alphabet(raw).decode().rstrip("=")
        for lead in range(3):
            whole = alphabet(bytes(lead) + raw).decode()[(lead * 8 + 5) // 6 : (lead + len(raw)) * 8 // 6]
            if len(whole) >= _SHORTEST_INSIDE:
                yield whole


def _letter(letter: str) -> str:
    """A pattern of one letter in all spellings: itself, in addresses, JSON, Python and markup, escaped repeatedly."""
    raw, units, code = letter.encode(), letter.encode("utf-16-be"), ord(letter)
    pairs = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    ways = [
        "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in raw),
        "".join(f"{_SLASHES}u{pair}" for pair in pairs),
        "".join(f"{_SLASHES}x{byte:02x}" for byte in raw),
        f"{_SLASHES}x{code:02x}",
        f"&(?:amp;){{0,3}}#0{{0,5}}{code};",
        f"&(?:amp;){{0,3}}#x0{{0,5}}{code:x};",
    ]
    named = codepoint2name.get(code)
    ways += [f"&(?:amp;){{0,3}}{named};"] if named else []
    itself = {" ": r"[ +]", "\\": _SLASHES}.get(letter, re.escape(letter))
    quoted = f"(?:{_SLASHES})?" if letter in "\"'/`" else ""
    return f"(?:{quoted}{itself}|(?i:{'|'.join(ways)}))"


def _code(text: str) -> Iterator[str]:
    """A pattern of each letter of an encoded secret: in an address the signs among them are escaped."""
    return (one if one.isalnum() else f"(?:{re.escape(one)}|%(?:25){{0,3}}(?i:{ord(one):02x}))" for one in text)


def _without(value: Any, secret: _Secret) -> Any:
    if isinstance(value, str):
        return secret.cut(value)
    if isinstance(value, Mapping):
        return {_without(key, secret): _without(item, secret) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, secret) for item in value]
    return value
