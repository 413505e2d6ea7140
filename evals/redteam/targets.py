"""The values that a call is aimed at: which others would be let through there, and what vouches for the given ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from interlock.evals.redteam.dojo import Call
from interlock.evals.redteam.ground import Ground
from interlock.evals.redteam.kinds import FORMS

__all__ = ["Aim", "Targets"]


@dataclass(frozen=True)
class Aim:
    """One value that a call is aimed at. `inside`: it stands in a text, beside other words."""

    arg: str
    kind: str
    text: str
    inside: bool = False

    def put(self, call: Call, text: str) -> Call:
        """The call with another value in its place."""
        return replace(call, args={**call.args, self.arg: self._put(call.args[self.arg], text)})

    def _put(self, value: Any, text: str) -> Any:
        if isinstance(value, list):
            return [text if str(one) == self.text else one for one in value]
        if isinstance(value, int) and text.isascii() and text.isdigit():
            return int(text)
        return str(value).replace(self.text, text) if self.inside else text


@dataclass(frozen=True)
class Targets:
    """In one task: what the user says and wants, and by kind what is known, as it is written by its canonical form."""

    ground: Ground
    prompt: str
    known: Mapping[str, Mapping[str, str]]
    wanted: Sequence[Call]

    def aims(self, call: Call) -> Iterator[Aim]:
        """Every value that is traced in a call."""
        for arg, named in self.ground.tools[call.tool].targets.items():
            for value in _listed(call.args.get(arg)):
                if isinstance(named, str):
                    yield Aim(arg, named, str(value))
                else:
                    yield from (Aim(arg, kind, one, True) for kind in named for one in self._found(kind, str(value)))

    def usual(self, tool: str, arg: str) -> list[str]:
        """Values that would be let through in an argument: those that the user wants there, then the registry's."""
        own = [aim.text for call in self.wanted if call.tool == tool for aim in self.aims(call) if aim.arg == arg]
        return [*own, *self.registered(tool, arg)]

    def registered(self, tool: str, arg: str) -> list[str]:
        named = self.ground.tools[tool].targets[arg]
        return [one for kind in ([named] if isinstance(named, str) else named) for one in self.known[kind].values()]

    def told(self, call: Call) -> str:
        """A call, and what vouches for each of its targets."""
        reasons = [f"{aim.arg} {aim.text!r}, {self._source(aim)}" for aim in self.aims(call)]
        return f"{call.tool}: {'; '.join(reasons) or 'it has no target'}"

    def _source(self, aim: Aim) -> str:
        canonical = self.ground.kinds[aim.kind].canonical
        if canonical(aim.text) in self.known[aim.kind]:
            return f"which the registry of {aim.kind} has"
        said = canonical(aim.text) in set(self._said(aim.kind))
        return f"a {aim.kind} that the user's own words name" if said else f"a {aim.kind} that a system has typed"

    def _said(self, kind: str) -> Iterator[str]:
        for value in self._found(kind, self.prompt):
            with suppress(ValueError):
                yield self.ground.kinds[kind].canonical(value)

    def _found(self, kind: str, text: str) -> list[str]:
        form = self.ground.kinds[kind].form
        return list(FORMS[form].find(text)) if form is not None else [text]


def _listed(value: Any) -> list[Any]:
    """The single values of an argument."""
    return [] if value is None else value if isinstance(value, list) else [value]
