"""Taking payloads out of the ledger, wherever they lie: in the database, and in archives that are written anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from interlock.observability import archives
from interlock.observability.archives import Archive, Draft
from interlock.storage.database import Transaction

__all__ = ["Rewritten", "blank", "holding", "of_case", "rewrite"]

# What these say holds nothing of a case, and without it nobody could tell an erasure from a deletion.
_KEPT = ("payload.erased", "ledger.archived", "seal.made")
_AMONG = ", ".join(f"'{kind}'" for kind in _KEPT)
_OF_CASE = f"SELECT payload_hash FROM ledger WHERE tenant = ? AND case_id = ? AND type NOT IN ({_AMONG}) ORDER BY seq"  # noqa: S608  # ours
_KEPT_HASHES = f"SELECT payload_hash FROM ledger WHERE tenant = ? AND type IN ({_AMONG})"  # noqa: S608  # ours
_ERASE = "UPDATE payloads SET data = NULL, salt = ?, erased_at = ? WHERE tenant = ? AND hash = ? AND data IS NOT NULL"


class Rewritten(NamedTuple):
    """An archive without the payloads of some cases: its new file, and the hashes of what was left out, by case."""

    archive: Archive
    file: str
    hashes: dict[str, list[str]]


def of_case(tx: Transaction, tenant: str, case_id: str | None) -> list[str]:
    """The payloads of a case in the database."""
    return [row["payload_hash"] for row in tx.rows(_OF_CASE, (tenant, case_id))]


def blank(tx: Transaction, tenant: str, hashes: Sequence[str], at: str) -> list[str]:
    """Erase data and salt in the database; gives those that were there, and may go."""
    kept = {row["payload_hash"] for row in tx.rows(_KEPT_HASHES, (tenant,))}
    return [one for one in hashes if one not in kept and tx.execute(_ERASE, (b"", at, tenant, one))]


def holding(folder: Path, left: Sequence[Archive], tenant: str, text: str) -> set[str]:
    """The cases of a tenant whose archived payloads hold a text."""
    forms = {text.encode(), orjson.dumps(text)[1:-1]}
    lines = (line for one in left for line in archives.read(folder, one))
    events = (orjson.loads(line) for line in lines if any(form in line for form in forms))
    return {one["case_id"] for one in events if one["tenant"] == tenant and _has(one, forms)}


def _has(event: Mapping[str, Any], forms: Collection[bytes]) -> bool:
    data = orjson.dumps(event["data"])
    return event["case_id"] is not None and any(form in data for form in forms)


def rewrite(folder: Path, archive: Archive, tenant: str, case_ids: Collection[str]) -> Rewritten | None:
    """Write an archive anew without the payloads of these cases; None when it has none. The old file stays."""
    if not any(_of_cases(line, tenant, case_ids) for line in archives.read(folder, archive)):
        return None
    hashes: dict[str, list[str]] = {}
    first = int(archives.parts(archive)["first"])
    with Draft(folder, archive.stream, first) as draft:
        for line in archives.read(folder, archive):
            event = _of_cases(line, tenant, case_ids)
            if event is None:
                draft.add(line)
                continue
            hashes.setdefault(event["case_id"], []).append(event["payload_hash"])
            draft.add(orjson.dumps({**event, "data": None, "salt": ""}) + b"\n")
        return Rewritten(archive, draft.keep(archive.seq), hashes)


def _of_cases(line: bytes, tenant: str, case_ids: Collection[str]) -> dict[str, str] | None:
    event = orjson.loads(line)
    ours = event["tenant"] == tenant and event["case_id"] in case_ids and event["type"] not in _KEPT
    return event if ours and event["data"] is not None else None
