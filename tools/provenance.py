"""Where the arguments of a call come from, and how old that is: traced by value, never by a claim of the caller.

An argument named in `targets=` gets those origins that are true for every value of it: `input` (a whole token of
trusted case input), `registry`, `person` (typed in by a person in this case), `output` (a typed field of a trusted
tool's result in this case, or in a trusted document), `untrusted` (seen only in untrusted content), `unknown`,
`absent`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from interlock.clock import Clock, iso, parse
from interlock.oversight.contexts import AGELESS
from interlock.storage.database import Database
from interlock.storage.transaction import Transaction
from interlock.tools.attempt import Attempt, refused
from interlock.tools.contract import ToolContext
from interlock.tools.kinds import Kind
from interlock.tools.registry import Tools
from interlock.tools.site import CallSite
from interlock.tools.sources import Reading, Recent, Seen, Source, leaves
from interlock.tools.untrusted import Path

__all__ = ["Provenance", "Traced"]

_KNOWN = "SELECT source, at FROM registries WHERE tenant = ? AND kind = ? AND value = ?"
_REGISTER = (
    "INSERT INTO registries (tenant, kind, value, source, at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (tenant, kind, value) DO NOTHING"
)
# How a source counts in `context.origins`: whoever labels a document as trusted answers for what stands in it.
_COUNTS_AS = {"document": "output"}
_SHOWN, _WIDTH = 20, 200
_UNKNOWN = Source("unknown", "", None, False)


@dataclass(frozen=True)
class Traced:
    """Origins and ages (whole seconds, begun ones count) by argument; ages only of those that were asked for."""

    origins: dict[str, set[str]] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)


class _Valued(NamedTuple):
    """Arguments with all that is known of where their values may come from."""

    args: Mapping[str, Any]
    targets: Mapping[str, Any]
    seen: Seen
    ctx: ToolContext | None


class Provenance:
    """Traces arguments. The plane sets `untrusted_input(workflow, version)`: the untrusted paths of its input."""

    def __init__(self, db: Database, tools: Tools, clock: Clock) -> None:
        self._db, self._tools, self._clock = db, tools, clock
        self.untrusted_input: Callable[[str, str], Iterable[Path]] = lambda workflow, version: ()

    async def trace(
        self, attempt: Attempt, ctx: ToolContext, recent: Callable[[], Recent], aged: Iterable[str] = ()
    ) -> Traced:
        """Origins of the targets, and the ages of some arguments; nothing is read for a call that has neither.

        Raises Refused when a registry fails, or a value has no form of its kind.
        """
        targets, aged = attempt.spec.targets, tuple(aged)
        if not targets and not aged:
            return Traced()
        seen = await self._seen(attempt.site, recent())
        origins = {arg: await self._of(attempt.args.get(arg), kinds, seen, ctx) for arg, kinds in targets.items()}
        valued = _Valued(attempt.args, targets, seen, ctx)
        return Traced(origins, {arg: await self._age(arg, valued) for arg in aged})

    async def evidence(
        self,
        site: CallSite,
        args: Mapping[str, Any],
        recent: Recent,
        targets: Mapping[str, Any] = MappingProxyType({}),
        ctx: ToolContext | None = None,
    ) -> dict[str, Any]:
        """For people: by argument, who said each of its values, when, and whether that is trusted."""
        valued = _Valued(args, targets, await self._seen(site, recent), ctx)
        told = {arg: await self._told(arg, valued) for arg in args}
        return {arg: values for arg, values in told.items() if values}

    def register(self, tx: Transaction, attempt: Attempt, at: str) -> None:
        """After a call of a tool with `registers=kind`: its targets of that kind are known from now on."""
        name, tenant = attempt.spec.registers, attempt.site.tenant
        if name is None:
            return
        kind = self._kind(name)
        named = [attempt.args.get(arg) for arg, of in attempt.spec.targets.items() if of == name]
        for value in filter(None, map(kind.form, leaves(named))):
            tx.execute(_REGISTER, (tenant, name, orjson.dumps(value), attempt.name, at))

    async def _seen(self, site: CallSite, recent: Recent) -> Seen:
        return await self._db.read(
            lambda tx: Reading(tx, site.tenant, self._tools, self.untrusted_input).case(
                site.case_id, recent, trusted=site.trusted
            )
        )

    async def _of(self, value: Any, kinds: str | tuple[str, ...], seen: Seen, ctx: ToolContext) -> set[str]:
        values = [] if value is None else self._values(list(leaves(value)), kinds)
        if not values:
            return {"absent"}
        found = [_origins(await self._sources(one, kind, seen, ctx)) for kind, one in values]
        return set.intersection(*found) or {"unknown"}

    def _kind(self, name: str) -> Kind:
        return Kind(name, self._tools.registries.get(name))

    def _values(self, texts: list[str], kinds: str | tuple[str, ...]) -> list[tuple[Kind, str]]:
        """What is traced of an argument, with its kind: every text of it, or what is found in these texts."""
        if isinstance(kinds, str):
            return [(self._kind(kinds), text) for text in texts]
        return [(kind, one) for kind in map(self._kind, kinds) for text in texts for one in _inside(kind, text)]

    async def _sources(self, value: str, kind: Kind, seen: Seen, ctx: ToolContext | None) -> list[Source]:
        wanted = kind.form(value)
        if wanted is None:
            raise refused("facts", f"{value!r} has no form as {kind.name}")
        said = seen.sources(wanted, kind)
        known = await self._registered(kind, wanted, ctx) if ctx is not None and kind.name else None
        if known is None:
            return said
        return [known, *(source for source in said if source.trusted)]

    async def _registered(self, kind: Kind, value: str, ctx: ToolContext) -> Source | None:
        """The registry that knows a value: the one of its kind, as it is now, or what tools have registered."""
        if kind.registry is not None:
            try:
                labels = kind.registry.lookup(value, ctx)
                labels = await labels if inspect.isawaitable(labels) else labels
            except Exception as exc:
                raise refused("facts", f"the registry of {kind.name} failed: {type(exc).__name__}: {exc}") from exc
            if labels is not None:
                return Source("registry", kind.registry.source, iso(self._clock.now()), True)
        params = (ctx.tenant, kind.name, orjson.dumps(value))
        row = await self._db.read(lambda tx: tx.row(_KNOWN, params))
        return None if row is None else Source("registry", row["source"] or "", row["at"], True)

    async def _age(self, arg: str, valued: _Valued) -> int:
        """Of the value whose last confirmation lies back the furthest; without end when one of them has no source."""
        found = [_seconds(sources, self._clock) for _, sources in await self._each(arg, valued)]
        return max(found, default=AGELESS)

    async def _told(self, arg: str, valued: _Valued) -> list[dict[str, Any]]:
        each = await self._each(arg, valued)
        shown = [_line(text, source) for text, sources in each for source in sources[:3] or [_UNKNOWN]]
        return shown[:_SHOWN]

    async def _each(self, arg: str, valued: _Valued) -> list[tuple[str, list[Source]]]:
        """Each value of an argument with its sources; a text in which values are looked for counts as a whole."""
        kinds = valued.targets.get(arg, "")
        kind = self._kind(kinds if isinstance(kinds, str) else "")
        texts = dict.fromkeys(filter(None, leaves(valued.args.get(arg))))
        return [(text, await self._sources(text, kind, valued.seen, valued.ctx)) for text in texts]


def _inside(kind: Kind, text: str) -> list[str]:
    try:
        return list(kind.found(text))
    except LookupError as exc:
        raise refused("facts", str(exc.args[0])) from exc
    except Exception as exc:
        raise refused("facts", f"looking for {kind.name} in a text failed: {type(exc).__name__}: {exc}") from exc


def _origins(sources: Iterable[Source]) -> set[str]:
    found = {_COUNTS_AS.get(s.origin, s.origin) if s.trusted else "untrusted" for s in sources}
    return found or {"unknown"}


def _seconds(sources: Iterable[Source], clock: Clock) -> int:
    """Since the newest of these sources spoke. A time that is still to come, or none, tells nothing."""
    now = clock.now()
    past = [(now - parse(source.at)).total_seconds() for source in sources if source.at is not None]
    return math.ceil(min((one for one in past if one >= 0), default=AGELESS))


def _line(text: str, source: Source) -> dict[str, Any]:
    value = text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
    about = {"value": value, "origin": source.origin, "source": source.name, "at": source.at, "case": source.case_id}
    return {**{name: one for name, one in about.items() if one}, "trusted": source.trusted}
