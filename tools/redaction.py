"""Cuts known secrets out of whatever is written down, in every spelling in which they may appear there."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = ["HIDDEN", "Redaction"]

HIDDEN = "[credential]"
_SHORTEST = 4
_SHORTEST_INSIDE = 10
_ESCAPE = re.compile("%[0-9A-F]{2}")
_BREAK = re.compile(r"[ \t]*(?:\r?\n|\\r\\n|\\n)[ \t]*")


class Redaction:
    """The secrets that are known. One once known is cut out for as long as the process lives."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """What is shorter than four characters would be cut out of everything, and is let be."""
        new = {secret for secret in secrets if len(secret) >= _SHORTEST}
        if not new <= self._secrets:
            self._secrets |= new
            forms = {form for secret in self._secrets for form in _spellings(secret)}
            self._pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))

    def clean(self, value: Any) -> Any:
        """The same JSON-like value with every known secret replaced, in keys as well."""
        return value if self._pattern is None else _without(value, self._pattern)

    def __len__(self) -> int:
        return len(self._secrets)


def _spellings(secret: str) -> set[str]:
    """How a secret may appear in addresses, headers, JSON, markup and messages."""
    raw = secret.encode()
    plain = {secret, repr(secret)[1:-1], html.escape(secret), html.escape(secret, quote=False)}
    in_url = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    in_url |= {_ESCAPE.sub(lambda found: found[0].lower(), text) for text in in_url}
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    encoded = {alphabet(raw).decode().rstrip("=") for alphabet in (base64.b64encode, base64.urlsafe_b64encode)}
    return plain | in_url | in_json | encoded | {raw.hex(), raw.hex().upper()} | set(_inside_base64(raw))


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
        return _cut(value, known)
    if isinstance(value, Mapping):
        return {_without(key, known): _without(item, known) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, known) for item in value]
    return value


def _cut(text: str, known: re.Pattern[str]) -> str:
    """Without secrets, also such as run over the end of a line: then the text loses its line breaks."""
    cut = known.sub(HIDDEN, text)
    if _BREAK.search(cut) is None:
        return cut
    joined = _BREAK.sub("", cut)
    return known.sub(HIDDEN, joined) if known.search(joined) else cut
