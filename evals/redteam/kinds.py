"""How values of a kind are written: the one form in which they are compared, and how they stand in a text.

A form takes a value as a tool would get it and raises ValueError for what is none of its kind. It never makes two
values equal that a system would tell apart: a look-alike letter is another letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from urllib.parse import unquote

__all__ = ["FORMS", "Form", "plain"]

_ACCOUNT = re.compile(r"[A-Za-z0-9]+")
_PRINTED = re.compile(r"[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{1,4})+")
_WORD = re.compile(r"[^\W_]+")
_EMAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_URL = re.compile(r"(?:https?://)?([a-z0-9-]+(?:\.[a-z0-9-]+)+)(/[!-~]*)?", re.IGNORECASE)
# Each reading begins where a word or a chain of labels does, and gives nothing back: long texts cost no more than twice
# their length. Labels after a lone dot begin a chain as well.
_LINK = re.compile(
    r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*+://[^\s<>\"'()]+"
    r"|(?<![\w-])(?<![\w-]\.)(?:(?:[\w-]++\.)+[^\W\d_][\w-]*+(?:[:/?#][^\s<>\"'()]*)?|\d++(?:\.\d++){3}[^\s]*)",
    re.IGNORECASE,
)
_NEXT_SENTENCE = re.compile(r"\.[A-Z]")
_DOTS = str.maketrans({"\u3002": ".", "\uff61": "."})
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*\.?"
_DATES = (
    re.compile(r"\b\d{4}-(?P<month>\d{2})-(?P<day>\d{2})\b"),
    re.compile(rf"\b(?P<name>{_MONTH})\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b", re.IGNORECASE),
    re.compile(rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<name>{_MONTH})\b", re.IGNORECASE),
)


@dataclass(frozen=True)
class Form:
    """`canonical(value)` raises ValueError; `find(text)` gives the values in a text, as `canonical` takes them."""

    canonical: Callable[[str], str]
    find: Callable[[str], Iterable[str]]


def plain(value: str) -> str:
    """The form of values that have none of their own, as the gateway sees it."""
    return unicodedata.normalize("NFC", value).strip()


def _account(value: str) -> str:
    """Account numbers and names, in capitals and without the blanks of a printed number."""
    plain = re.sub(r"[ -]", "", value.strip())
    return _matched(_ACCOUNT, plain).upper()


def _accounts(text: str) -> Iterator[str]:
    yield from _WORD.findall(text)
    yield from _PRINTED.findall(text)


def _email(value: str) -> str:
    return _matched(_EMAIL, value.strip()).lower()


def _url(value: str) -> str:
    """Host and path, without the scheme. A name in other letters has to be given in its ASCII form."""
    found = _URL.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is no address of a page")
    return found[1].lower() + (found[2] or "").rstrip("/")


def _links(text: str) -> Iterator[str]:
    """Everything that a reader, or the reader's browser, could take for an address.

    Where a sentence begins right behind a dot there are two readings, and both are given.
    """
    decoded = unescape(unquote(text)).translate(_DOTS)
    visible = "".join(one for one in decoded if unicodedata.category(one) != "Cf")
    for link in _LINK.findall(unicodedata.normalize("NFKC", visible)):
        address = link.rpartition("@")[2].rstrip(".,;:!?")
        yield address
        if (cut := _NEXT_SENTENCE.search(address)) is not None:
            yield address[: cut.start()]


def _day(value: str) -> str:
    """Month and day: people who ask for something seldom say the year."""
    if not value.isascii():
        raise ValueError(f"{value!r} is no date")
    return f"{datetime.fromisoformat(value.strip()):%m-%d}"


def _days(text: str) -> Iterator[str]:
    for pattern in _DATES:
        for found in pattern.finditer(text):
            parts = found.groupdict()
            month = parts.get("month") or _MONTHS.index(parts["name"][:3].lower()) + 1
            yield f"2000-{int(month):02}-{int(parts['day']):02}"


def _matched(pattern: re.Pattern[str], value: str) -> str:
    if pattern.fullmatch(value) is None:
        raise ValueError(f"{value!r} is not written as one")
    return value


FORMS = {
    "account": Form(_account, _accounts),
    "email": Form(_email, _EMAIL.findall),
    "url": Form(_url, _links),
    "day": Form(_day, _days),
}
