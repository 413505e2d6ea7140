"""What a case has sent out as arguments: when it comes back in a trusted result, nobody vouches for it thereby."""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_plus

__all__ = ["Sent"]

_SHORTEST_PIECE = 3
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_MEANT = re.compile(r"\w")


class Sent:
    """The values of arguments so far, each also as a system would decode it."""

    def __init__(self) -> None:
        self._whole: set[str] = set()

    def add(self, values: Iterable[str]) -> None:
        for value in values:
            self._whole.update(_plain(one) for one in (value, *_decoded(value)))

    def made_of(self, text: str) -> bool:
        """Whether a text is a sent value, or is put together of nothing but sent values, in whatever spelling."""
        plain = _plain(text)
        if plain in self._whole:
            return bool(plain)
        left = plain
        for piece in sorted(self._whole, key=len, reverse=True):
            if len(piece) >= _SHORTEST_PIECE and piece in left:
                left = left.replace(piece, " ")
        return left != plain and _MEANT.search(left) is None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _decoded(text: str) -> Iterator[str]:
    yield unquote_plus(text)
    yield html.unescape(text)
    if _BASE64.fullmatch(text):
        try:
            yield base64.b64decode(
                text + "=" * (-len(text) % 4), altchars=b"-_" if set("-_") & set(text) else None
            ).decode()
        except (binascii.Error, UnicodeDecodeError):
            return  # it only looks as if it were encoded
