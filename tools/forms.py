"""Forms for kinds of targets that are the same everywhere, by name: `register_registry(..., canonical="iban")`.

Two ways of writing one target become one. Nothing else does: a letter that only looks like another one has no form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["FORMS", "email", "host", "iban"]

# Blanks and hyphens as in print, also such that keep a number on one line.
_BETWEEN = re.compile("[ \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}-]")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST = 320


def iban(value: str) -> str:
    """An account in capitals, without blanks. Raises ValueError for what is none, or has a wrong check digit."""
    plain = _ascii(_BETWEEN.sub("", value.strip(" "))).upper().removeprefix("IBAN").removeprefix(":")
    if _IBAN.fullmatch(plain) is None:
        raise ValueError(f"{value!r} is no IBAN")
    if int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 != 1:
        raise ValueError(f"the check digits of {value!r} are wrong")
    return plain


def email(value: str) -> str:
    """An address in small letters. Raises ValueError for what is none."""
    local, at, domain = _ascii(value.strip(" ")).lower().rpartition("@")
    if not at or _LOCAL.fullmatch(local) is None:
        raise ValueError(f"{value!r} is no mail address")
    return f"{local}@{host(domain)}"


def host(value: str) -> str:
    """The name of a host in small letters, without the dot of the root. Raises ValueError for what is none.

    Names in other letters have to be given in their ASCII form, as xn--mnchen-3ya.de.
    """
    plain = _ascii(value.strip(" ")).lower().removesuffix(".")
    if _HOST.fullmatch(plain) is None:
        raise ValueError(f"{value!r} is no name of a host")
    return plain


def _ascii(text: str) -> str:
    """Before letters are made small or capital, which makes some foreign letters ASCII."""
    if not text.isascii() or len(text) > _LONGEST:
        raise ValueError("too long, or with letters that only look like Latin ones")
    return text


FORMS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType({"iban": iban, "email": email, "host": host})
