"""Where a tool call comes from: the facts about case, task and actor that the gateway judges it by."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from interlock.oversight.escalation import Deadlines

__all__ = ["SITE", "CallSite"]


@dataclass(frozen=True)
class CallSite:
    """One place in one case. `ns` is the checkpoint namespace with its task ids, `attempt` LangGraph's retry count.

    `allowed` are the tool names of the task (None: any). `durability` is LangGraph's, None outside a node.
    `shown` is what people who are asked about a call see of the case, as JSON values; `asking` until when they are.
    """

    tenant: str
    case_id: str
    workflow: str
    version: str
    task: str
    visit: int
    actor: str
    requester: str
    preparers: frozenset[str]
    owner: str
    allowed: frozenset[str] | None
    ns: str
    attempt: int
    snapshot: int
    autonomy: str
    guest: bool
    trusted: bool
    deadline: datetime | None
    durability: str | None = None
    shown: Mapping[str, Any] = field(default_factory=dict, compare=False)
    asking: Deadlines | None = field(default=None, compare=False)


SITE: ContextVar[CallSite | None] = ContextVar("interlock_site", default=None)
