"""What a case has been told, and by whom: its input, results of tools, documents, persons, and cases related to it.

A value is traced by looking for it here. What one case hands to another, as the input or the result of a child case,
is only as good as what the other case knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from interlock.storage.database import Reader, Row
from interlock.tools import effects, facts
from interlock.tools.contract import ToolSpec
from interlock.tools.echo import Sent
from interlock.tools.facts import Found
from interlock.tools.kinds import Kind
from interlock.tools.registry import Tools
from interlock.tools.untrusted import Path

__all__ = ["Call", "Handed", "Reading", "Recent", "Said", "Seen", "Source", "leaves"]

_CASE = (
    "SELECT workflow, version, input, trusted, parent_id, requester, started_at, EXISTS (SELECT 1 FROM facts f"
    " WHERE f.tenant = c.tenant AND f.case_id = c.case_id) AS has_facts FROM cases c WHERE tenant = ? AND case_id = ?"
)
_SAID = (
    "SELECT d.decision AS decision, d.by AS by, d.at AS at, i.action AS action FROM decisions d"
    " JOIN inbox i ON i.tenant = d.tenant AND i.id = d.item_id WHERE i.tenant = ? AND i.case_id = ?"
)


class Source(NamedTuple):
    """Who said something: `origin` is input, person, output or document, `at` is when, as text.

    `case_id` is the case that was told so.
    """

    origin: str
    name: str
    at: str | None
    trusted: bool
    case_id: str = ""


class Call(NamedTuple):
    """A call of a case: what it sent out, and what came back; times are text, `at` that of its end."""

    tool: str
    args: Any
    result: Any
    begun: str
    at: str


class Recent(NamedTuple):
    """What a drive has read and been given that is not in the database yet."""

    calls: Sequence[Call] = ()
    found: Sequence[Found] = ()


_NOTHING = Recent()


class Said(NamedTuple):
    """One text of a source. With a kind it vouches for values of that kind only."""

    text: str
    source: Source
    kind: str | None = None

    def says(self, wanted: str, kind: Kind) -> bool:
        """Whether it holds the value; who answers for a value gave it as a field of its own, and of its kind."""
        if self.source.trusted and self.source.origin in {"person", "output"}:
            return self.kind in {None, kind.name} and kind.form(self.text) == wanted
        return kind.held(wanted, self.text)


class Handed(NamedTuple):
    """Texts that came from another case, which says where it has them from."""

    texts: Sequence[str]
    origin: Seen


@dataclass
class Seen:
    """What one case was told."""

    case_id: str
    said: list[Said] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)

    def sources(self, wanted: str, kind: Kind, passed: frozenset[str] = frozenset()) -> list[Source]:
        """Who said a value: those that answer for it, or if nobody does, those in whose content it stands."""
        found = [said.source for said in self.said if said.says(wanted, kind)]
        passed |= {self.case_id}
        for handed in self.handed:
            if handed.origin.case_id not in passed and any(kind.held(wanted, text) for text in handed.texts):
                found += handed.origin.sources(wanted, kind, passed)
        return list(dict.fromkeys(source for source in found if source.trusted)) or list(dict.fromkeys(found))


class Reading:
    """Reads cases inside one transaction: each once, with those that handed something to it."""

    def __init__(self, tx: Reader, tenant: str, tools: Tools, untrusted: Callable[[str, str], Iterable[Path]]) -> None:
        self._tx, self._tenant, self._tools, self._untrusted = tx, tenant, tools, untrusted
        self._seen: dict[str, Seen] = {}
        self._calls: dict[str, list[Call]] = {}

    def case(self, case_id: str, recent: Recent = _NOTHING, *, trusted: bool = True) -> Seen:
        """What a case was told; without trust everything in its input is said by nobody."""
        self._read(case_id, recent, trusted=trusted)
        for one in self._seen.values():
            self._listen(one)
        return self._seen[case_id]

    def _read(self, case_id: str, recent: Recent = _NOTHING, *, trusted: bool = True) -> Seen:
        if case_id in self._seen:
            return self._seen[case_id]
        seen = self._seen[case_id] = Seen(case_id)
        row = self._tx.row(_CASE, (self._tenant, case_id))
        found = list(recent.found)
        if row is not None:
            found += facts.kept(self._tx, self._tenant, case_id) if row["has_facts"] else ()
            self._input(seen, row, trusted=trusted and bool(row["trusted"]))
        for fact in found:
            self._fact(seen, fact)
        calls = (Call(*call) for call in effects.begun(self._tx, self._tenant, case_id))
        self._calls[case_id] = [*calls, *recent.calls]
        for said in self._tx.rows(_SAID, (self._tenant, case_id)):
            source = Source("person", said["by"], said["at"], True, case_id)
            seen.said += [Said(text, source) for text in _typed_in(said)]
        return seen

    def _input(self, seen: Seen, row: Row, *, trusted: bool) -> None:
        if row["input"] is None:
            return
        marked: set[Path] = set(self._untrusted(row["workflow"], row["version"])) if trusted else {()}
        source = Source("input", row["requester"] or "", row["started_at"], True, seen.case_id)
        given, doubtful = _split(orjson.loads(row["input"]), marked)
        seen.said += [Said(text, source._replace(trusted=False)) for text in doubtful]
        if row["parent_id"] is None:
            seen.said += [Said(text, source) for _, text in given]
        else:
            seen.handed.append(Handed([text for _, text in given], self._read(row["parent_id"])))

    def _fact(self, seen: Seen, fact: Found) -> None:
        if fact.kind == "case":
            seen.handed.append(Handed(list(leaves(fact.value)), self._read(fact.source)))
            return
        source = Source("document", fact.source, fact.as_of or fact.at, fact.trusted, seen.case_id)
        seen.said += [Said(text, source) for text in leaves(fact.value)]

    def _listen(self, seen: Seen) -> None:
        """The results of a case's calls. An echo of what any of the cases has sent out is in nobody's name."""
        others = [call for case_id, calls in self._calls.items() if case_id != seen.case_id for call in calls]
        others.sort(key=lambda call: call.begun, reverse=True)
        heard = _Heard()
        for call in self._calls[seen.case_id]:
            while others and others[-1].begun <= call.at:
                heard.sent.add(leaves(others.pop().args))
            self._call(seen, call, heard)

    def _call(self, seen: Seen, call: Call, heard: _Heard) -> None:
        spec = self._tools.get(call.tool) if call.tool in self._tools else None
        source = Source("output", call.tool, call.at, True, seen.case_id)
        typed, doubtful = _split(call.result, _untrusted_output(spec))
        seen.said += [Said(text, source._replace(trusted=False)) for text in doubtful]
        kinds = spec.output_kinds if spec is not None else {}
        told = [Said(text, source, _kind(path, kinds)) for path, text in typed]
        seen.said += heard.new(call, told)


class _Heard:
    """What has been sent out so far, and what tools had said of their own before."""

    def __init__(self) -> None:
        self.sent = Sent()
        self._known: set[tuple[str, str, str | None]] = set()

    def new(self, call: Call, told: list[Said]) -> list[Said]:
        """What a tool says of its own: what was never sent out, or what it had said before and is not told now."""
        self.sent.add(leaves(call.args))
        mine = [one for one in told if not self.sent.made_of(one.text) or self._again(call, one)]
        self._known |= {(call.tool, one.text, one.kind) for one in mine}
        return mine

    def _again(self, call: Call, one: Said) -> bool:
        if (call.tool, one.text, one.kind) not in self._known:
            return False
        own = Sent()
        own.add(leaves(call.args))
        return not own.made_of(one.text)


def _untrusted_output(spec: ToolSpec | None) -> set[Path]:
    marked = spec.untrusted_output if spec is not None else True
    if isinstance(marked, bool):
        return {()} if marked else set()
    return {_path(pointer) for pointer in marked}


def _kind(path: Path, kinds: Mapping[str, str]) -> str | None:
    """The kind of a field of a result: any when its tool says nothing of kinds, and none when it names others."""
    if not kinds:
        return None
    return next((kind for pointer, kind in kinds.items() if _meets(path, _path(pointer))), "")


def _typed_in(row: Row) -> Iterator[str]:
    """What a person wrote. Arguments that an edit left as they were are nobody's word."""
    decision, asked = orjson.loads(row["decision"]), orjson.loads(row["action"] or b"{}").get("args") or {}
    yield from leaves(decision.get("value"))
    for name, value in (decision.get("args") or {}).items():
        before = set(leaves(asked.get(name)))
        yield from (text for text in leaves(value) if text not in before)


def _split(value: Any, marked: set[Path]) -> tuple[list[tuple[Path, str]], list[str]]:
    """The leaves of a JSON value: the plain ones with their paths, and those below a marked path."""
    plain: list[tuple[Path, str]] = []
    doubtful: list[str] = []
    _sort(value, (), marked, plain, doubtful)
    return plain, doubtful


def _sort(value: Any, path: Path, marked: set[Path], plain: list[tuple[Path, str]], doubtful: list[str]) -> None:
    if any(_meets(path, mark) for mark in marked):
        doubtful.extend(leaves(value))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            _sort(inner, (*path, str(name)), marked, plain, doubtful)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _sort(inner, (*path, str(index)), marked, plain, doubtful)
    else:
        plain.extend((path, text) for text in leaves(value))


def _path(pointer: str) -> Path:
    return tuple(part for part in pointer.split("/") if part)


def _meets(path: Path, mark: Path) -> bool:
    return len(path) == len(mark) and all(m in ("*", p) for p, m in zip(path, mark, strict=True))


def leaves(value: Any) -> Iterator[str]:
    """The texts and numbers of a JSON value, as text."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
