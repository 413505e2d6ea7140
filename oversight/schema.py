"""The Cedar schema of a plane, generated from its actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cedarpy
import orjson

from interlock.oversight.actions import APPROVE, EFFECTS, ActionSpec, groups
from interlock.oversight.cedar_types import CedarType, record
from interlock.oversight.contexts import APPROVE_TYPES, context_types

__all__ = ["Action", "actions_of", "schema_of"]

_ROLE = "Role"
_ENTITIES: dict[str, Any] = {
    _ROLE: {},
    "System": {},
    "Agent": {"memberOfTypes": [_ROLE]},
    "Person": {"memberOfTypes": [_ROLE], "shape": record({"limit": {"type": "Long"}})},
}
# Always there, so that a rule about an effect is valid before the first tool with that effect.
_GROUPS = [f"effect:{effect}" for effect in EFFECTS]
_GROUPS += [f"{APPROVE}{group}" for group in _GROUPS]


@dataclass(frozen=True)
class Action:
    """An action as Cedar knows it: its groups, who may ask for it, and the type of its context."""

    spec: ActionSpec
    name: str
    parents: tuple[str, ...]
    principals: tuple[str, ...]
    context: Mapping[str, CedarType]


def actions_of(specs: Iterable[ActionSpec], authorities: Iterable[str]) -> dict[str, Action]:
    """Every action by name, with an `approve:` action for each tool and gate."""
    known = sorted(authorities)
    actions: dict[str, Action] = {}
    for spec in specs:
        context = context_types(spec, known)
        parents = tuple(groups(spec))
        actions[spec.name] = Action(spec, spec.name, parents, ("Agent", "Person"), context)
        if spec.effect in {"read", "write", "compensate", "gate"}:
            actions[APPROVE + spec.name] = _approval(spec, parents, context)
    return actions


def _approval(spec: ActionSpec, parents: tuple[str, ...], context: Mapping[str, CedarType]) -> Action:
    # Not a member of the call's own groups: a permit for a system must not make approvers of its users.
    groups_of = ("effect:approve", *(APPROVE + parent for parent in parents))
    return Action(spec, APPROVE + spec.name, groups_of, ("Person",), {**context, **APPROVE_TYPES})


def schema_of(actions: Iterable[Action], others: Iterable[str] = ()) -> cedarpy.Schema:
    """A parsed Cedar schema of some actions, all groups, and other names that policies may mention."""
    listed = list(actions)
    named = {*others, *(parent for action in listed for parent in action.parents)}
    entries: dict[str, Any] = {name: {} for name in sorted(named.union(_GROUPS))}
    entries.update((action.name, _entry(action)) for action in listed)
    document = {"Interlock": {"entityTypes": _ENTITIES, "actions": entries}}
    return cedarpy.Schema.from_json_str(orjson.dumps(document).decode())


def _entry(action: Action) -> dict[str, Any]:
    applies = {"principalTypes": action.principals, "resourceTypes": ["System"], "context": record(action.context)}
    return {"memberOf": [{"id": parent} for parent in action.parents], "appliesTo": applies}
