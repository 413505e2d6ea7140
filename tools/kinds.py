"""How values of a kind are compared: in the one form that their registry gives them, else as plain text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress

from interlock.tools.registry import Registry

__all__ = ["Form", "Kind", "canonical_form", "plain"]

Form = Callable[[str], str | None]


def plain(text: str) -> str:
    """The form of what has no kind: look-alike letters stay other letters."""
    return unicodedata.normalize("NFC", text).strip()


def canonical_form(registry: Registry | None, value: str) -> str:
    """The one form of a value of a kind, so that two ways of writing it are one; as plain text when it has none."""
    return Kind("", registry).form(value) or plain(value)


class Kind:
    """A kind of values, with its registry if there is one. The empty kind is that of whatever is no target."""

    def __init__(self, name: str, registry: Registry | None = None) -> None:
        self.name, self.registry = name, registry

    def form(self, text: str) -> str | None:
        """None for a text that the registry's `canonical` cannot read."""
        canonical = self.registry.canonical if self.registry is not None else None
        if canonical is None:
            return plain(text)
        with suppress(Exception):  # it is made for values of its kind, and here it reads whatever was said
            return canonical(text)
        return None

    def held(self, wanted: str, text: str) -> bool:
        """Whether a text is the value, or holds it as a whole token: `a@b.com` is no token of `xa@b.com.evil`.

        A kind that knows how its values stand in a text looks for itself.
        """
        if self.form(text) == wanted:
            return True
        if self.registry is None or self.registry.find is None:
            return _token(wanted, text)
        with suppress(Exception):  # as with canonical forms, it reads whatever was said
            return any(self.form(one) == wanted for one in self.registry.find(text))
        return False

    def found(self, text: str) -> Iterable[str]:
        """The values of this kind in a text. Raises LookupError when the registry does not say how to find them."""
        if self.registry is None or self.registry.find is None:
            raise LookupError(f"the registry of {self.name} does not say how to find one in a text")
        return self.registry.find(text)


def _token(wanted: str, text: str) -> bool:
    token = re.escape(wanted)
    return re.search(rf"(?<![\w@.+\-]){token}(?![\w@+\-]|\.\w)", plain(text)) is not None if wanted else False
