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

__all__ = ["Found", "keeping", "kept"]

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
