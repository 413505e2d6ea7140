"""The context of a policy request: its types, its neutral values, and how a partial one is made complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from interlock import errors
from interlock.clock import parse
from interlock.oversight.actions import ActionSpec
from interlock.oversight.cedar_types import BOOL, LONG, STRING, STRINGS, CedarType, project, record, record_of

__all__ = [
    "AGELESS",
    "APPROVE_TYPES",
    "aged_in",
    "complete_context",
    "context_types",
    "earlier_in",
    "leaves",
    "merged",
    "neutral",
    "person_entities",
]

_PERIODS = record({"day": LONG, "week": LONG, "month": LONG})
_SPANS = record({"hour": LONG, **_PERIODS["attributes"]})
_PERSON: CedarType = {"type": "Entity", "name": "Interlock::Person"}
_FACTS = {"bool": BOOL, "long": LONG, "string": STRING, "set": STRINGS}
_TEXTS = ("effect", "system", "scope", "workflow", "task", "tenant", "requester", "currency", "autonomy")
_BASE: dict[str, CedarType] = {
    **dict.fromkeys(_TEXTS, STRING),
    "preparers": STRINGS,
    "amount": LONG,
    "now": {"type": "Extension", "name": "datetime"},
    "tainted": STRINGS,
    "totals": record(
        {
            **_PERIODS["attributes"],
            "by_actor": _PERIODS,
            "by_counterparty": _PERIODS,
            "by_system": _PERIODS,
            "tenant": record({**_PERIODS["attributes"], "by_counterparty": _PERIODS}),
        }
    ),
    "history": record({"done": STRINGS, "begun": STRINGS, "own": STRINGS, "own_with": STRINGS}),
    "counts": record({**_SPANS["attributes"], "by_actor": _SPANS, "by_counterparty": _SPANS, "by_system": _SPANS}),
    "repeats": record({**_SPANS["attributes"], "by_counterparty": _SPANS}),
}
_TRACED: dict[str, CedarType] = {"trusted": STRINGS, "known": STRINGS}
_GATE: dict[str, CedarType] = {"authority": STRING, "approved": LONG}
APPROVE_TYPES: dict[str, CedarType] = {
    "authority": STRING, "excluded": {"type": "Set", "element": _PERSON}, "acted": STRINGS,
}  # fmt: skip
_NEUTRAL: dict[str, Any] = {"Boolean": False, "Long": 0, "String": "", "Set": []}
_EARLIER = ("history", "counts", "repeats", "totals.by_system", "totals.tenant")
_TRUSTED = frozenset({"input", "registry", "person", "output"})
# The age of what has no source: no limit on ages lets it pass.
AGELESS = 2**63 - 1


def context_types(spec: ActionSpec, authorities: Iterable[str]) -> dict[str, CedarType]:
    """The type of each context attribute of an action. Raises ConfigurationError on a bad fact."""
    args = record_of(spec.args)
    origins = record(dict.fromkeys(spec.args.get("properties", {}), STRINGS))
    approvals = record(dict.fromkeys(sorted(authorities), LONG))
    fixed = {**_BASE, "args": args, "origins": origins, "approvals": approvals}
    gate = _GATE if spec.effect == "gate" else {}
    # A fact of the project may be called `known`: it then stands in place of ours.
    ages = record(dict.fromkeys(spec.args.get("properties", {}), LONG))
    traced = {} if spec.effect in {"gate", "builtin"} else {**_TRACED, "ages": ages}
    return {**fixed, **gate, **traced, **_fact_types(spec, fixed.keys() | gate.keys() | APPROVE_TYPES.keys())}


def _fact_types(spec: ActionSpec, taken: Iterable[str]) -> dict[str, CedarType]:
    for name, kind in spec.facts.items():
        if kind not in _FACTS or name in set(taken):
            raise errors.ConfigurationError(
                f"fact {name!r} of {spec.name} has type {kind!r}, or a name that is taken",
                f"use one of {', '.join(_FACTS)} and a name of your own",
            )
    return {name: _FACTS[kind] for name, kind in spec.facts.items()}


def earlier_in(types: Mapping[str, CedarType], paths: Iterable[str]) -> tuple[str, ...]:
    """What is looked up among earlier calls, of all that is read: `counts.by_actor.day` and the like."""
    return _read_of(_EARLIER, types, paths)


def aged_in(types: Mapping[str, CedarType], paths: Iterable[str]) -> tuple[str, ...]:
    """The arguments whose age is read, as `ages.price`."""
    return _read_of(("ages",), types, paths)


def _read_of(records: Iterable[str], types: Mapping[str, CedarType], paths: Iterable[str]) -> tuple[str, ...]:
    """The leaves of some records that are read by way of these paths."""
    read = tuple("" if path == "" else f"{path}." for path in paths)
    found = (leaf for name, cedar in types.items() for leaf in leaves(name, cedar))
    wanted = (leaf for leaf in found if leaf.startswith(tuple(f"{name}." for name in records)))
    return tuple(leaf for leaf in wanted if f"{leaf}.".startswith(read))


def leaves(name: str, cedar: CedarType) -> Iterator[str]:
    """The dotted paths of a record's attributes, and of the records in it."""
    if cedar["type"] != "Record":
        yield name
        return
    for part, inner in cedar["attributes"].items():
        yield from leaves(f"{name}.{part}", inner)


def complete_context(types: Mapping[str, CedarType], spec: ActionSpec, partial: Mapping[str, Any]) -> dict[str, Any]:
    """All attributes of the action's context; what `partial` lacks gets a neutral value.

    Of the traced arguments, `trusted` names those with a trusted origin, `known` those that the registry of their kind
    has, `tainted` those that are there without a trusted origin: all follow from `origins`. What has no age is ageless.
    """
    judged = {name: found for name, found in _judged(partial).items() if name not in spec.facts}
    given = {"effect": spec.effect, "system": spec.system, "scope": spec.scope, **judged, **partial}
    given["now"] = _instant(given.get("now"))
    if types.get("ages", {}).get("type") == "Record":
        given["ages"] = {**dict.fromkeys(types["ages"]["attributes"], AGELESS), **given.get("ages", {})}
    given.setdefault("approved", partial.get("approvals", {}).get(given.get("authority", ""), 0))
    # Arguments are shown as they are: a neutral value in place of a missing one could satisfy a policy.
    shown = project(types["args"], given.get("args", {}))
    return {name: shown if name == "args" else _given(name, cedar, given.get(name)) for name, cedar in types.items()}


def merged(context: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """A context with some of its values, at any depth, replaced."""
    inner = {name: merged(context.get(name) or {}, new) for name, new in news.items() if isinstance(new, Mapping)}
    return {**context, **news, **inner}


def _judged(partial: Mapping[str, Any]) -> dict[str, list[str]]:
    origins = {name: frozenset(found) for name, found in sorted(partial.get("origins", {}).items()) if found}
    trusted = [name for name, found in origins.items() if found & _TRUSTED]
    known = [name for name, found in origins.items() if "registry" in found]
    tainted = [name for name, found in origins.items() if not found & _TRUSTED and "absent" not in found]
    return {"tainted": tainted, "trusted": trusted, "known": known}


def _given(name: str, cedar: CedarType, value: Any) -> Any:
    return _ABSENT[name] if value is None and name in _ABSENT else _filled(cedar, value)


def _filled(cedar: CedarType, value: Any) -> Any:
    if cedar["type"] == "Record":
        given = value if isinstance(value, Mapping) else {}
        return {name: _filled(sub, given.get(name)) for name, sub in cedar["attributes"].items()}
    return _NEUTRAL[cedar["type"]] if value is None and cedar["type"] in _NEUTRAL else project(cedar, value)


def neutral(cedar: CedarType) -> Any:
    """The least that is of a type: of a record its required attributes."""
    if cedar["type"] != "Record":
        return _NEUTRAL.get(cedar["type"])
    attributes = cedar["attributes"].items()
    return {name: neutral(inner) for name, inner in attributes if inner.get("required", True)}


_ABSENT = {name: _filled(cedar, None) for name, cedar in _BASE.items() if cedar["type"] == "Record"}


def _instant(value: Any) -> Any:
    """A Cedar datetime (milliseconds, UTC) of an aware datetime, ISO text, or nothing."""
    if isinstance(value, Mapping):
        return value
    at = parse(value) if isinstance(value, str) else value
    at = (at or datetime.fromtimestamp(0, UTC)).astimezone(UTC)
    return {"__extn": {"fn": "datetime", "arg": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"}}


def person_entities(ids: Iterable[str]) -> list[dict[str, Any]]:
    """Cedar references to the persons among some actor ids, for `context.excluded`."""
    names = sorted({value.removeprefix("person:") for value in ids if value.startswith("person:")})
    return [{"__entity": {"type": "Interlock::Person", "id": name}} for name in names]
