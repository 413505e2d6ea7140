"""Who has had a part in a case and in the cases related to it, for keeping duties apart.

Related are the case that it was started by, and so on upwards, and every case that one of those has started. What
somebody has done in one of them, they have done in all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from interlock.oversight.actions import APPROVE, Request

if TYPE_CHECKING:
    from interlock.oversight.edition import Edition
    from interlock.storage.database import Reader, Row

__all__ = ["acts", "informed", "preparers"]

_RELATED = """
WITH RECURSIVE
up(id) AS (SELECT ? UNION SELECT c.parent_id FROM cases c JOIN up ON c.case_id = up.id
  WHERE c.tenant = ? AND c.parent_id IS NOT NULL),
related(id) AS (SELECT id FROM up UNION SELECT c.case_id FROM cases c JOIN related ON c.parent_id = related.id
  WHERE c.tenant = ?)
"""
_CALLS = """
SELECT DISTINCT e.actor AS who, e.tool AS tool FROM effects e JOIN related ON e.case_id = related.id
WHERE e.tenant = ? AND e.actor LIKE 'person:%'
"""
_OUTPUTS = """
SELECT i.decided_by AS who, i.decision AS decision FROM inbox i JOIN related ON i.case_id = related.id
WHERE i.tenant = ? AND i.status IN ('completed', 'decided') AND i.kind <> 'approval' AND i.effect_key = ''
"""
_APPROVALS = """
SELECT i.decided_by AS who, i.decision AS decision, i.action AS action FROM inbox i
JOIN related ON i.case_id = related.id WHERE i.tenant = ? AND i.status = 'decided' AND i.authority <> ''
"""


def preparers(reader: Reader, tenant: str, case_id: str) -> set[str]:
    """The persons who have called a tool, or given the output of a task."""
    outputs = (row["who"] for row in _rows(reader, _OUTPUTS, tenant, case_id) if _gave_output(row))
    return {row["who"] for row in _rows(reader, _CALLS, tenant, case_id)}.union(outputs)


def acts(reader: Reader, tenant: str, case_id: str) -> dict[str, list[str]]:
    """What each person has done: the tools they have called, and the gates they have decided, also for somebody."""
    done: dict[str, set[str]] = defaultdict(set)
    for row in _rows(reader, _CALLS, tenant, case_id):
        done[row["who"]].add(row["tool"])
    for row in _rows(reader, _APPROVALS, tenant, case_id):
        action = orjson.loads(row["action"])
        if action["gate"]:
            for who in _deciders(row):
                done[who].add(action["request"]["action"])
    return {who: sorted(names) for who, names in done.items()}


def informed(reader: Reader, request: Request, tenant: str, case_id: str, policies: Edition) -> Request:
    """A request with all who prepared it, in related cases too, and, where a policy asks, what each person has done.

    Whoever acts in it is not among those who prepared it.
    """
    known = {*request.context["preparers"], *preparers(reader, tenant, case_id)} - {request.principal}
    part = policies.slice(APPROVE + request.action)
    done = acts(reader, tenant, case_id) if part is not None and "acted" in part.reads else {}
    return replace(request, context={**request.context, "preparers": sorted(known)}, acted=done)


def _rows(reader: Reader, what: str, tenant: str, case_id: str) -> Iterable[Row]:
    return reader.rows(_RELATED + what, (case_id, tenant, tenant, tenant))


def _gave_output(row: Row) -> bool:
    decision: Mapping[str, Any] = orjson.loads(row["decision"])
    return decision["kind"] in {"complete", "respond"}


def _deciders(row: Row) -> set[str]:
    return {row["who"], orjson.loads(row["decision"]).get("acting_for") or row["who"]}
