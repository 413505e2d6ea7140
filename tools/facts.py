"""The rows of `facts`: what a case was given to read beside the results of its tools, with where it came from.

A document that was retrieved keeps its own trust; the result of a child case is as good as that case's sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from interlock.ids import canonical, digest
from interlock.storage.claim import Apply
from interlock.storage.database import Reader
from interlock.storage.transaction import Transaction
from interlock.tools import effects
from interlock.tools.registry import Tools

__all__ = ["Found", "keeping", "kept", "listed"]

_INSERT = (
    "INSERT INTO facts (tenant, id, case_id, kind, source, version, as_of, trust, labels, hash, value, at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING"
)
_OF_CASE = "SELECT * FROM facts WHERE tenant = ? AND case_id = ? ORDER BY at, id"


@dataclass(frozen=True)
class Found:
    """One fact. `value` is JSON; `source` names the document, or is the id of the child case; times are text.

    `as_of` is when it was true, as its source says. Only a document whose `trust` is "trusted" vouches for what
    stands in it.
    """

    kind: Literal["document", "case"]
    source: str
    value: Any
    at: str
    version: str | None = None
    as_of: str | None = None
    trust: str = "untrusted"
    labels: tuple[str, ...] = ()
    hash: str = ""

    @property
    def trusted(self) -> bool:
        return self.trust == "trusted"


def keeping(tenant: str, case_id: str, found: Sequence[Found]) -> Apply:
    """What keeps facts with a case, each once: for the commit of the task that got them."""

    def apply(tx: Transaction) -> None:
        for fact in found:
            tx.execute(_INSERT, _row(tenant, case_id, fact))

    return apply


def kept(reader: Reader, tenant: str, case_id: str) -> Iterator[Found]:
    """The facts of a case, in the order in which it got them."""
    for row in reader.rows(_OF_CASE, (tenant, case_id)):
        yield Found(
            row["kind"], row["source"], orjson.loads(row["value"]), row["at"], row["version"], row["as_of"],
            row["trust"], tuple(orjson.loads(row["labels"])), row["hash"],
        )  # fmt: skip


def _row(tenant: str, case_id: str, fact: Found) -> tuple[Any, ...]:
    value = canonical(fact.value)
    own = digest([case_id, fact.kind, fact.source, fact.version, fact.hash or value.decode()])[:32]
    return (
        tenant, own, case_id, fact.kind, fact.source, fact.version, fact.as_of, fact.trust,
        canonical(sorted(fact.labels)), fact.hash or digest(fact.value), value, fact.at,
    )  # fmt: skip


def listed(reader: Reader, tenant: str, case_id: str, tools: Tools) -> list[dict[str, Any]]:
    """For people: what a case was told, the oldest first, as {kind, source, at, trust, labels, value}.

    The text of a document with labels is left out: whoever may read it finds it under its source.
    """
    told = [_result(call, tools) for call in effects.begun(reader, tenant, case_id) if call[2] is not None]
    told += [_fact(fact) for fact in kept(reader, tenant, case_id)]
    return sorted(told, key=lambda one: str(one["at"]))


def _result(call: tuple[str, Any, Any, str, str], tools: Tools) -> dict[str, Any]:
    name, args, value, _, at = call
    told = {"kind": "tool", "source": name, "args": args, "at": at, "labels": [], "value": value}
    marked = tools.get(name).untrusted_output if name in tools else True
    trust = "untrusted" if marked is True else f"trusted, but {', '.join(marked)}" if marked else "trusted"
    return {**told, "trust": trust if name in tools else "untrusted: not registered"}


def _fact(fact: Found) -> dict[str, Any]:
    trust = "as its own sources" if fact.kind == "case" else fact.trust
    value = None if fact.labels else fact.value
    about = {"kind": fact.kind, "source": fact.source, "version": fact.version, "at": fact.as_of or fact.at}
    return {**about, "trust": trust, "labels": list(fact.labels), "value": value}
