"""Cuts known secrets out of whatever is written down, in every spelling in which they may appear there."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

__all__ = ["HIDDEN", "Redaction"]

HIDDEN = "[credential]"
_SHORTEST = 4
_SHORTEST_INSIDE = 10
_ESCAPE = re.compile("%[0-9A-F]{2}")
_BREAK = re.compile(r"[ \t]*(?:\r?\n|\\r\\n|\\n)[ \t]*")
# Only a text that holds one of these can hold a secret in another spelling than the usual ones.
_ESCAPES = re.compile(r"[\\%&\n]")
_BACKSLASH = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
# A letter beyond ASCII in UTF-8, each byte as a character.
_BYTES = re.compile("[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_MEANT = {"n": "\n", "r": "\r", "t": "\t"}
_LAYERS = 6


class Redaction:
    """The secrets that are known. One once known is cut out for as long as the process lives."""

    def __init__(self) -> None:
        self._known: dict[str, _Secret] = {}

    def learn(self, secrets: Iterable[str]) -> None:
        """What is shorter than four characters would be cut out of everything, and is let be."""
        new = {secret for secret in secrets if len(secret) >= _SHORTEST} - self._known.keys()
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
    """One secret with its usual spellings, as a pattern that is made when it is first needed."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    @cached_property
    def _usual(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, _longest_first(_spellings(self._secret)))))

    def cut(self, text: str) -> str:
        """Without the secret. A text that loses it over the end of a line loses its line breaks as well, and of one
        that holds it under several escapes nothing is left.
        """
        cut = self._usual.sub(HIDDEN, text)
        if _ESCAPES.search(cut) is None:
            return cut
        joined = _BREAK.sub("", cut)
        cut = self._usual.sub(HIDDEN, joined) if self._usual.search(joined) else cut
        return HIDDEN if any(map(self._usual.search, _meanings(cut))) else cut


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(texts, key=lambda text: (-len(text), text))


def _spellings(secret: str) -> set[str]:
    """How a secret may appear in addresses, headers, JSON, markup and messages."""
    raw = secret.encode()
    plain = {secret, repr(secret)[1:-1], html.escape(secret), html.escape(secret, quote=False)}
    in_bytes = {repr(raw)[2:-1], raw.decode("latin-1")}
    in_url = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    in_url |= {_ESCAPE.sub(lambda found: found[0].lower(), text) for text in in_url}
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    encoded = {alphabet(raw).decode().rstrip("=") for alphabet in (base64.b64encode, base64.urlsafe_b64encode)}
    return plain | in_bytes | in_url | in_json | encoded | {raw.hex(), raw.hex().upper()} | set(_inside_base64(raw))


def _inside_base64(raw: bytes) -> Iterator[str]:
    """The letters of a long secret in the encoding of a longer text, as `user:secret`, wherever it stands in it."""
    for lead in range(3):
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            letters = alphabet(bytes(lead) + raw).decode()
            whole = letters[(lead * 8 + 5) // 6 : (lead + len(raw)) * 8 // 6]
            if len(whole) >= _SHORTEST_INSIDE:
                yield whole


def _meanings(text: str) -> Iterator[str]:
    """What a text says when its escapes are taken away, one layer after the other, and its lines are joined."""
    for _ in range(_LAYERS):
        before, form = text, unquote_plus(text)  # of a form: there a plus is a space, and %2B a plus
        yield from (form, _BREAK.sub("", form))
        for take_away in (unquote, html.unescape, _unslashed, _as_letters):
            if (text := take_away(text)) != before:
                spaced = text.replace("+", " ")
                yield from (_BREAK.sub("", text), spaced, _BREAK.sub("", spaced))
        if text == before:
            return


def _unslashed(text: str) -> str:
    plain = _BACKSLASH.sub(_letter, text)
    # Python and JSON write letters beyond the first plane as two halves.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _as_letters(text: str) -> str:
    """Bytes that were written one by one, read as the letters that they encode."""
    return _BYTES.sub(lambda found: found[0].encode("latin-1").decode("utf-8", "replace"), text)


def _letter(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    if code is None:
        return _MEANT.get(escape[4], escape[4])
    return chr(int(code, 16)) if int(code, 16) < 0x110000 else escape[0]


def _without(value: Any, secret: _Secret) -> Any:
    if isinstance(value, str):
        return secret.cut(value)
    if isinstance(value, Mapping):
        return {_without(key, secret): _without(item, secret) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, secret) for item in value]
    return value
