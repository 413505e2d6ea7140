"""Did you mean: the closest known name for a misspelled one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["METHODS", "SYNTAX", "TYPES", "closest", "did_you_mean"]

METHODS = ("contains", "containsAll", "containsAny", "isEmpty", "getTag", "hasTag", "toDate", "toTime", "offset")
TYPES = ("Action", "Agent", "Person", "Role", "System")
# What people of other languages write, by the token at which Cedar stumbles.
SYNTAX = {
    "=": "compare with ==",
    "and": "write &&",
    "or": "write ||",
    "not": "write !",
    "allow": "write permit",
    "deny": "write forbid",
    "None": "test with 'has'",
    "null": "test with 'has'",
}


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a word, or None when nothing is near."""
    found = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return found[0] if found and found[0] != word else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean x?`, or an empty text."""
    found = closest(word, known)
    return f"did you mean {found}?" if found else ""
