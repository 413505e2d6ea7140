"""B7: one policy decision among 10, 100 and 1,000 policies: ten for each tool, one of which permits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import cedarpy
import orjson

from bench.trial import Trial, measure
from interlock.oversight.policy import ActionSpec, Policies, Request

SIZES = (10, 100, 1000)
EACH = 10
TOOL = "bench.tool0"
_ROLE = "buyer"


def policies(size: int) -> str:
    """So many policies, ten of each tool; the last one of a tool permits what is within its limit."""
    return "\n".join(_policy(number) for number in range(size))


def _policy(number: int) -> str:
    scope = (
        f'principal in Interlock::Role::"{_ROLE}", action == Interlock::Action::"bench.tool{number // EACH}", resource'
    )
    limit = 10**12 if number % EACH == EACH - 1 else -number
    return f'@id("bench.{number}") permit ({scope}) when {{ context.currency == "EUR" && context.amount <= {limit} }};'


def bound(size: int) -> Policies:
    """The policies as a plane has them."""
    made = Policies({"builtin.cedar": policies(size)})
    made.bind([ActionSpec(f"bench.tool{n}", "write", "bench") for n in range(size // EACH)], {_ROLE}, ())
    assert not made.check(), made.check()
    return made


async def ours(size: int, folder: Path, runs: int, callers: int) -> Trial:
    """As the gateway does it: context made complete, request type-checked, every amount another one."""
    asked, roles = bound(size), frozenset({_ROLE})

    async def once(number: int) -> None:
        context = asked.complete_context(TOOL, {"amount": number, "currency": "EUR"})
        assert asked.decide(Request(TOOL, "agent:x", roles, "bench", context)).allowed

    return await measure(once, runs, callers, lambda: 0)


async def cedar(size: int, folder: Path, runs: int, callers: int) -> Trial:
    """cedarpy on the whole set, parsed before; what is asked is not type-checked."""
    parsed = cedarpy.PolicySet.from_str(policies(size))
    role = {"type": "Interlock::Role", "id": _ROLE}
    who = {"uid": {"type": "Interlock::Agent", "id": "x"}, "attrs": {}, "parents": [role]}
    entities = cedarpy.Entities.from_json_str(orjson.dumps([who]).decode())

    async def once(number: int) -> None:
        request: dict[str, Any] = {
            "principal": 'Interlock::Agent::"x"', "action": f'Interlock::Action::"{TOOL}"',
            "resource": 'Interlock::System::"bench"', "context": {"amount": number, "currency": "EUR"},
        }  # fmt: skip
        assert cedarpy.is_authorized(request, parsed, entities).allowed

    return await measure(once, runs, callers, lambda: 0)


Decide = Callable[[Path, int, int], Coroutine[Any, Any, Trial]]
PEERS: dict[str, Decide] = {
    f"{name}, {size:,}": partial(peer, size) for size in SIZES for name, peer in (("cedarpy", cedar), ("ours", ours))
}
