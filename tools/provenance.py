"""Where the targets of a call come from: traced by value, never by a claim of the caller.

An argument named in `targets=` gets those origins that are true for every value of it: `input` (a whole token of
trusted case input), `registry`, `person` (typed in by a person in this case), `output` (a typed field of a trusted
tool's result in this case), `untrusted` (seen only in untrusted content), `unknown`, `absent`.
"""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, get_args, get_origin, get_type_hints

import orjson

from interlock.storage.database import Database, Reader
from interlock.storage.transaction import Transaction
from interlock.tools import effects
from interlock.tools.attempt import Attempt, refused
from interlock.tools.contract import ToolContext
from interlock.tools.echo import Sent
from interlock.tools.registry import Registry, Tools

__all__ = ["Provenance", "Untrusted", "canonical_form", "untrusted_fields"]

Path = tuple[str, ...]
Form = Callable[[str], str | None]
Find = Callable[[str], Iterable[str]]

_CASE = "SELECT workflow, version, input, trusted FROM cases WHERE tenant = ? AND case_id = ?"
_SAID = (
    "SELECT d.decision AS decision FROM decisions d JOIN inbox i ON i.tenant = d.tenant AND i.id = d.item_id"
    " WHERE i.tenant = ? AND i.case_id = ?"
)
_KNOWN = "SELECT 1 FROM registries WHERE tenant = ? AND kind = ? AND value = ?"
_REGISTER = (
    "INSERT INTO registries (tenant, kind, value, source, at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (tenant, kind, value) DO NOTHING"
)


class _Untrusted:
    def __repr__(self) -> str:
        return "Untrusted"


# `Annotated[str, Untrusted]` marks a field of an input model as content that nobody vouches for.
# An object and no class: LangGraph takes whatever can be called there for a reducer.
Untrusted: Final = _Untrusted()


def untrusted_fields(model: Any, seen: frozenset[Any] = frozenset()) -> set[Path]:
    """The paths of the fields marked `Untrusted` in a model, dataclass or TypedDict; `*` stands for any item."""
    if model in seen or not isinstance(model, type) or not getattr(model, "__annotations__", None):
        return set()
    hints = get_type_hints(model, include_extras=True)
    return {(name, *rest) for name, hint in hints.items() for rest in _marked(hint, seen | {model})}


def _marked(hint: Any, seen: frozenset[Any]) -> Iterator[Path]:
    if any(mark is Untrusted for mark in getattr(hint, "__metadata__", ())):
        yield ()
        return
    container = get_origin(hint) in (list, tuple, set, frozenset, dict)
    for inner in get_args(hint):
        for path in _marked(inner, seen):
            yield ("*", *path) if container else path
    if not get_args(hint):
        yield from untrusted_fields(hint, seen)


@dataclass
class _Seen:
    """Leaf values of one case by how far they can be trusted."""

    input: list[str] = field(default_factory=list)
    person: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    untrusted: list[str] = field(default_factory=list)


class Provenance:
    """Traces targets. The plane sets `untrusted_input(workflow, version)`: the untrusted paths of its input."""

    def __init__(self, db: Database, tools: Tools) -> None:
        self._db = db
        self._tools = tools
        self.untrusted_input: Callable[[str, str], Iterable[Path]] = lambda workflow, version: ()

    async def trace(
        self, attempt: Attempt, ctx: ToolContext, recent: Iterable[tuple[str, Any, Any]]
    ) -> dict[str, set[str]]:
        """Origins by argument; `recent` are (tool, args, result) of this task that are not in the database yet."""
        targets = attempt.spec.targets
        if not targets:
            return {}
        fresh = list(recent)  # here: the query runs in another thread
        seen = await self._db.read(lambda tx: self._seen(tx, attempt, fresh))
        return {arg: await self._of(attempt.args.get(arg), kinds, seen, ctx) for arg, kinds in targets.items()}

    def register(self, tx: Transaction, attempt: Attempt, at: str) -> None:
        """After a call of a tool with `registers=kind`: its targets of that kind are known from now on."""
        kind, tenant = attempt.spec.registers, attempt.site.tenant
        if kind is None:
            return
        form = _form(self._tools.registries.get(kind))
        named = [attempt.args.get(arg) for arg, of in attempt.spec.targets.items() if of == kind]
        for value in filter(None, map(form, _leaves(named))):
            tx.execute(_REGISTER, (tenant, kind, orjson.dumps(value), attempt.name, at))

    async def _of(self, value: Any, kinds: str | tuple[str, ...], seen: _Seen, ctx: ToolContext) -> set[str]:
        values = [] if value is None else self._values(list(_leaves(value)), kinds)
        if not values:
            return {"absent"}
        found = [await self._one(one, kind, seen, ctx) for kind, one in values]
        return set.intersection(*found) or {"unknown"}

    def _values(self, texts: list[str], kinds: str | tuple[str, ...]) -> list[tuple[str, str]]:
        """What is traced of an argument, with its kind: every text of it, or what is found in these texts."""
        if isinstance(kinds, str):
            return [(kinds, text) for text in texts]
        return [(kind, one) for kind in kinds for text in texts for one in self._inside(kind, text)]

    def _inside(self, kind: str, text: str) -> list[str]:
        registry = self._tools.registries.get(kind)
        if registry is None or registry.find is None:
            raise refused("facts", f"the registry of {kind} does not say how to find one in a text")
        try:
            return list(registry.find(text))
        except Exception as exc:
            raise refused("facts", f"looking for {kind} in a text failed: {type(exc).__name__}: {exc}") from exc

    async def _one(self, value: str, kind: str, seen: _Seen, ctx: ToolContext) -> set[str]:
        registry = self._tools.registries.get(kind)
        form = _form(registry)
        wanted = form(value)
        if wanted is None:
            raise refused("facts", f"{value!r} has no form as {kind}")
        find = registry.find if registry is not None else None
        origins = {"input"} if any(_holds(text, wanted, form, find) for text in seen.input) else set[str]()
        origins |= {"person"} if any(form(text) == wanted for text in seen.person) else set()
        origins |= {"output"} if any(form(text) == wanted for text in seen.output) else set()
        origins |= {"registry"} if await self._registered(kind, wanted, registry, ctx) else set()
        if not origins:
            return {"untrusted"} if any(_holds(text, wanted, form, find) for text in seen.untrusted) else {"unknown"}
        return origins

    async def _registered(self, kind: str, value: str, registry: Registry | None, ctx: ToolContext) -> bool:
        if registry is not None:
            try:
                labels = registry.lookup(value, ctx)
                labels = await labels if inspect.isawaitable(labels) else labels
            except Exception as exc:
                raise refused("facts", f"the registry of {kind} failed: {type(exc).__name__}: {exc}") from exc
            if labels is not None:
                return True
        params = (ctx.tenant, kind, orjson.dumps(value))
        return await self._db.read(lambda tx: tx.row(_KNOWN, params)) is not None

    def _seen(self, tx: Reader, attempt: Attempt, recent: list[tuple[str, Any, Any]]) -> _Seen:
        site, seen, sent = attempt.site, _Seen(), Sent()
        case = tx.row(_CASE, (site.tenant, site.case_id))
        if case is not None and case["input"] is not None:
            trusted = bool(case["trusted"]) and site.trusted
            marked: set[Path] = set(self.untrusted_input(case["workflow"], case["version"])) if trusted else {()}
            _split(orjson.loads(case["input"]), (), marked, seen.input, seen.untrusted)
        for tool, args, result in [*effects.finished(tx, site.tenant, site.case_id), *recent]:
            typed: list[str] = []
            _split(result, (), self._untrusted_output(tool), typed, seen.untrusted)
            sent.add(_leaves(args))
            seen.output.extend(text for text in typed if not sent.made_of(text))
        for row in tx.rows(_SAID, (site.tenant, site.case_id)):
            said = orjson.loads(row["decision"])
            seen.person.extend(_leaves([said.get("args"), said.get("value")]))
        return seen

    def _untrusted_output(self, tool: str) -> set[Path]:
        marked = self._tools.get(tool).untrusted_output if tool in self._tools else True
        if isinstance(marked, bool):
            return {()} if marked else set()
        return {tuple(part for part in pointer.split("/") if part) for pointer in marked}


def _split(value: Any, path: Path, marked: set[Path], trusted: list[str], untrusted: list[str]) -> None:
    """Sort the leaves of a JSON value; a marked path takes everything below it."""
    if any(_meets(path, mark) for mark in marked):
        untrusted.extend(_leaves(value))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            _split(inner, (*path, str(name)), marked, trusted, untrusted)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _split(inner, (*path, str(index)), marked, trusted, untrusted)
    else:
        trusted.extend(_leaves(value))


def _meets(path: Path, mark: Path) -> bool:
    return len(path) == len(mark) and all(m in ("*", p) for p, m in zip(path, mark, strict=True))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def canonical_form(registry: Registry | None, value: str) -> str:
    """The one form of a value of a kind, so that two ways of writing it are one; as plain text when it has none."""
    return _form(registry)(value) or str(_form(None)(value))


def _form(registry: Registry | None) -> Form:
    """The form in which values are compared: None for a text that the registry's `canonical` cannot read."""
    canonical = registry.canonical if registry is not None else None

    def form(text: str) -> str | None:
        if canonical is None:
            return unicodedata.normalize("NFC", text).strip()
        with suppress(Exception):  # it is made for values of its kind, and here it reads whatever was said
            return canonical(text)
        return None

    return form


def _holds(text: str, wanted: str, form: Form, find: Find | None = None) -> bool:
    """Whether a text is the value, or holds it as a whole token: `a@b.com` is no token of `xa@b.com.evil`.

    A kind that knows how its values stand in a text looks for itself.
    """
    if form(text) == wanted:
        return True
    if find is not None:
        with suppress(Exception):  # as with canonical forms, it reads whatever was said
            return any(form(one) == wanted for one in find(text))
        return False
    token = re.escape(wanted)
    plain = unicodedata.normalize("NFC", text)
    return re.search(rf"(?<![\w@.+\-]){token}(?![\w@+\-]|\.\w)", plain) is not None if wanted else False
