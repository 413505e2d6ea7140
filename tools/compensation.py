"""Compensation: the tool that undoes an effect, and what a case that ends badly has to undo.

A tool with `compensate=` has the action `<tool>.compensate` beside its own. Only the end of a case asks for it: no
agent can call it, and it goes through the gateway like every call.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from interlock import errors
from interlock.ids import digest
from interlock.money import Money
from interlock.tools.adapters import Call, in_thread
from interlock.tools.contract import MARK, ToolContext, ToolSpec

if TYPE_CHECKING:
    from interlock.storage.database import Row

__all__ = ["SUFFIX", "compensation_of", "key_of", "stuck_id", "undoing"]

SUFFIX = ".compensate"
# What `@tool(...)` on the compensating function may say of it; all else is as of the tool that it undoes.
_OWN = frozenset({"idempotent", "reconcile", "timeout", "rate"})


def key_of(effect_key: str, turn: int) -> str:
    """The effect key of a compensation: it follows from that of the effect. `turn` counts what people let try again."""
    return digest([effect_key, "compensate", turn])


def stuck_id(effect_key: str) -> str:
    """The inbox item that asks what to do about a compensation that did not go through."""
    return digest([effect_key, "stuck"])[:32]


def compensation_of(spec: ToolSpec) -> ToolSpec | None:
    """The action that undoes a tool, as policies know it; None where nothing does. Raises ConfigurationError."""
    if spec.compensate is None:
        return None
    own: Mapping[str, Any] = getattr(spec.compensate, MARK, {})
    if unknown := sorted(own.keys() - _OWN):
        raise errors.ConfigurationError(
            f"the compensation of {spec.name!r} sets {', '.join(unknown)}", f"it may set {', '.join(sorted(_OWN))}"
        )
    # Not idempotent unless it says so: that a system takes the keys of orders says nothing about cancellations.
    given = {"idempotent": False, "reconcile": None, **own}
    return replace(
        spec, name=spec.name + SUFFIX, call=_unbound, effect="compensate", compensate=None, registers=None, **given
    )


def undoing(spec: ToolSpec, row: Row) -> ToolSpec:
    """The compensation of one effect: it is given that effect's result, and its money comes back."""
    undo = compensation_of(spec)
    assert undo is not None, "asked only of tools with a compensation"
    credit = None if row["amount"] is None else Money(-row["amount"], row["currency"])
    return replace(undo, call=_bound(spec.compensate, row["result"] or b"null"), money=lambda args: credit)


def _bound(compensate: Any, result: bytes) -> Call:
    is_async = inspect.iscoroutinefunction(compensate if inspect.isroutine(compensate) else type(compensate).__call__)

    async def call(args: Mapping[str, Any], ctx: ToolContext) -> Any:
        given = (args, orjson.loads(result), ctx)
        said = compensate(*given) if is_async else await in_thread(compensate, *given)
        return await said if inspect.isawaitable(said) else said

    return call


async def _unbound(args: Mapping[str, Any], ctx: ToolContext) -> Any:
    raise errors.ConfigurationError("a compensation was called by its name", "it runs at the end of a case")
