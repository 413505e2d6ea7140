"""The tools of a process: registration, lookup, what policies may name of them."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from langchain_core.tools import BaseTool

from interlock import errors
from interlock.ids import check_name, check_tool
from interlock.oversight.actions import BUILTINS, ActionSpec
from interlock.oversight.contexts import context_types
from interlock.tools.adapters import Call, call_function, call_http, call_tool
from interlock.tools.arguments import Arguments, from_function, from_schema
from interlock.tools.compensation import SUFFIX, compensation_of
from interlock.tools.contract import MARK, ToolSpec
from interlock.tools.forms import FORMS

__all__ = ["Facts", "Registry", "Tools"]

_RATE = re.compile(r"(\d+)\s*(?:/|per)\s*(s|sec|second|m|min|minute|h|hour)")
_LONGEST_SHOWN = 64
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Facts:
    """A function of (args, ctx) whose values policies may use; an exception in it denies the call."""

    name: str
    fn: Callable[..., Awaitable[Mapping[str, Any]] | Mapping[str, Any]]
    actions: tuple[str, ...]
    types: Mapping[str, str]

    def meets(self, other: Facts) -> bool:
        """Whether both give the same key to the same action."""
        return bool(self.types.keys() & other.types.keys() and set(self.actions) & set(other.actions))


@dataclass(frozen=True)
class Registry:
    """Known targets of one kind (accounts, addresses). `canonical` brings values into one form, `find` gives those in a
    text; without it a text holds a value that stands in it as a whole token.
    """

    kind: str
    lookup: Callable[..., Any]
    source: str
    canonical: Callable[[str], str] | None = None
    find: Callable[[str], Iterable[str]] | None = None


@dataclass
class Tools:
    """Registered tools by their exact name. Registering twice raises Conflict unless it is the same.

    `reserved` are actions that are no tools: those of the plane itself, and the gates of workflows.
    """

    _specs: dict[str, ToolSpec] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    registries: dict[str, Registry] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=lambda: {spec.name for spec in BUILTINS})

    def register(self, target: Any, **options: Any) -> ToolSpec:
        """Register a function, a LangChain tool or {"url", "method"}; options as `plane.register_tool`.

        Raises ConfigurationError on options that make no sense, Conflict on a name that is taken, InputError on one
        that is no tool name.
        """
        return self.add(make_spec(target, {**getattr(target, MARK, {}), **options}))

    def reserve(self, actions: Iterable[str]) -> None:
        """Keep the names of a workflow's gates from tools. Raises Conflict when one is taken."""
        names = set(actions)
        if taken := sorted(names & (self._specs.keys() | {spec.name for spec in BUILTINS})):
            raise errors.Conflict(f"{taken[0]!r} is an action already", "name the approval or its workflow otherwise")
        self.reserved |= names

    def add(self, spec: ToolSpec) -> ToolSpec:
        self._check_undoing(spec)
        if spec.name in self.reserved:
            raise errors.Conflict(f"{spec.name!r} is an action already, and no tool", "choose another name")
        known = self._specs.setdefault(spec.name, spec)
        if known is not spec and known != spec:
            raise errors.Conflict(f"tool {spec.name!r} is registered with other options", "choose another name")
        twins = [name for name, other in self._specs.items() if other.shown == spec.shown and name != spec.name]
        if twins:
            del self._specs[spec.name]
            raise errors.Conflict(f"{spec.name!r} and {twins[0]!r} look the same to a model", "rename one of them")
        return known

    def _check_undoing(self, spec: ToolSpec) -> None:
        """`<tool>.compensate` is the action that undoes a tool, and no other tool."""
        names = self._specs.keys() | self.reserved
        undone = self._specs.get(spec.name.removesuffix(SUFFIX)) if spec.name.endswith(SUFFIX) else None
        if (compensation_of(spec) and spec.name + SUFFIX in names) or (undone and undone.compensate):
            raise errors.Conflict(f"{spec.name!r} and its compensation meet another action", "choose another name")

    def register_facts(
        self, name: str, fn: Callable[..., Any], *, actions: Iterable[str], types: Mapping[str, str]
    ) -> None:
        """Facts looked up before each decision on one of `actions`; `types`: key to bool, long, string or set.

        Raises ConfigurationError on what is no function, list or type, Conflict on a name or key that is taken.
        """
        if not callable(fn) or isinstance(actions, str):
            raise errors.ConfigurationError(f"facts {name!r}: {fn!r} on {actions!r}", "give a function, and a list")
        new = Facts(name, fn, tuple(actions), dict(types))
        for action in new.actions:
            context_types(ActionSpec(action, facts=new.types), ())
        if taken := [known for known in self.facts.values() if known.name != name and new.meets(known)]:
            raise errors.Conflict(f"{taken[0].name!r} gives one of {sorted(types)} already", "choose other keys")
        _put(self.facts, name, new)

    def register_registry(
        self,
        kind: str,
        lookup: Callable[..., Any],
        *,
        source: str,
        canonical: Callable[[str], str] | str | None = None,
        find: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        """Known targets of a kind: `lookup(value, ctx)` gives labels, or None for an unknown value.

        `canonical` may name a form: "iban", "email" or "host". Raises ConfigurationError on what is no function and
        no form, Conflict on a kind that is taken.
        """
        form = FORMS.get(canonical) if isinstance(canonical, str) else canonical
        named = form is not None or canonical is None
        if not named or not callable(lookup) or not all(fn is None or callable(fn) for fn in (form, find)):
            what = f"registry {kind!r}: {lookup!r}, {canonical!r}, {find!r}"
            raise errors.ConfigurationError(what, f"give functions; the forms with a name are {', '.join(FORMS)}")
        _put(self.registries, kind, Registry(kind, lookup, source, form, find))

    def get(self, name: str) -> ToolSpec:
        """The tool of an exact name. Raises NotFound."""
        spec = self._specs.get(name)
        if spec is None:
            raise errors.NotFound(f"no tool {name!r} is registered", "register it with plane.register_tool")
        return spec

    def facts_of(self, name: str) -> list[Facts]:
        return [facts for facts in self.facts.values() if name in facts.actions]

    def actions(self) -> list[ActionSpec]:
        """What policies may name: one action per tool, and one per compensation."""
        undoing = filter(None, map(compensation_of, self._specs.values()))
        return [self._action(spec) for spec in (*self._specs.values(), *undoing)]

    def _action(self, spec: ToolSpec) -> ActionSpec:
        types = {key: kind for facts in self.facts_of(spec.name) for key, kind in facts.types.items()}
        return ActionSpec(spec.name, spec.effect, spec.system, spec.scope, spec.arguments.schema, types)

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[ToolSpec]:
        return iter(list(self._specs.values()))


def make_spec(target: Any, options: Mapping[str, Any]) -> ToolSpec:
    """Build and check a tool. Raises ConfigurationError, and InputError on a name that is no tool name."""
    given = dict(options)
    name = check_tool(given.pop("name", None) or _name_of(target))
    call, arguments, description = _kind(target, given)
    given["timeout"] = _timeout(name, given.get("timeout"))
    given["rate"] = _rate(given.get("rate"))
    given["untrusted_output"] = _untrusted(name, given)
    if isinstance(given.get("targets"), Mapping):
        given["targets"] = {arg: tuple(of) if isinstance(of, list) else of for arg, of in given["targets"].items()}
    try:
        spec = ToolSpec(name, target, description, call=call, arguments=arguments, **given)
    except TypeError as exc:
        raise errors.ConfigurationError(f"tool {name!r}: {exc}", "see plane.register_tool for its options") from exc
    _check_options(spec)
    _check_fields(spec)
    return spec


def _check_options(spec: ToolSpec) -> None:
    """A wrong type would show only when the tool is called, or as a check that never bites."""
    right = {
        "effect": spec.effect in ("read", "write"),
        "system": isinstance(spec.system, str) and (not spec.system or bool(check_name(spec.system))),
        "scope": isinstance(spec.scope, str),
        "registers": spec.registers is None or isinstance(spec.registers, str),
        "sandbox": isinstance(spec.sandbox, bool),
        "targets": isinstance(spec.targets, Mapping) and all(map(_kinds, spec.targets.values())),
        "output_kinds": isinstance(spec.output_kinds, Mapping) and all(map(_pointed, spec.output_kinds.items())),
        "reconcile": spec.reconcile is None or callable(spec.reconcile),
        "compensate": spec.compensate is None or callable(spec.compensate),
        "resource": spec.resource is None or isinstance(spec.resource, str) or callable(spec.resource),
        "money": spec.money is None or isinstance(spec.money, str) or callable(spec.money),
        "when_held": spec.when_held in (None, "wait", "refuse"),
        "idempotent": isinstance(spec.idempotent, (bool, str)) or callable(spec.idempotent),
    }
    if wrong := [option for option, fits in right.items() if not fits]:
        values = ", ".join(f"{option}={getattr(spec, option)!r}" for option in wrong)
        raise errors.ConfigurationError(f"tool {spec.name!r}: {values}", "see plane.register_tool for its options")


def _check_fields(spec: ToolSpec) -> None:
    """Options that name an argument name one: a misspelt one would mean no money, no lease, no tracing."""
    named = {option: getattr(spec, option) for option in ("resource", "money", "idempotent")}
    fields = [*spec.targets, *(value for value in named.values() if isinstance(value, str))]
    if unknown := [field for field in fields if not spec.arguments.knows(field)]:
        known = ", ".join(sorted(spec.arguments.names)) or "none"
        raise errors.ConfigurationError(f"tool {spec.name!r} has no argument {unknown[0]!r}", f"its arguments: {known}")
    if len(spec.shown) > _LONGEST_SHOWN:
        raise errors.ConfigurationError(
            f"models cannot be shown {spec.shown!r}", f"at most {_LONGEST_SHOWN} characters, a dot counts two"
        )


def _kind(target: Any, options: dict[str, Any]) -> tuple[Call, Arguments, str]:
    """How to run it, its arguments and its description, by what it is."""
    schema, described = options.get("args_schema"), options.pop("description", None)
    if isinstance(target, BaseTool):
        declared = schema or target.args_schema or target.get_input_schema()
        return call_tool(target), from_schema(declared), described or target.description
    if isinstance(target, Mapping):
        call = call_http(str(target.get("url", "")), str(target.get("method", "POST")))
        return call, from_schema(schema or {}), described or f"{target.get('method', 'POST')} {target.get('url')}"
    if not callable(target):
        raise errors.ConfigurationError(f"{target!r} is no tool", "give a function, a LangChain tool or {url, method}")
    arguments = from_schema(schema) if schema is not None else from_function(target)
    return call_function(target), arguments, described or (target.__doc__ or "").strip()


def _kinds(value: Any) -> bool:
    """Whether it is a kind, or several to be found in a text."""
    return isinstance(value, str) or (isinstance(value, tuple) and all(isinstance(kind, str) for kind in value))


def _pointed(pair: tuple[Any, Any]) -> bool:
    """Whether it is a JSON pointer with the kind of what stands there."""
    return all(isinstance(one, str) for one in pair) and pair[0].startswith("/") and bool(pair[1])


def _name_of(target: Any) -> str:
    return str(getattr(target, "name", None) or getattr(target, "__name__", ""))


def _timeout(name: str, value: Any) -> float | None:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is not None and not _positive(seconds):
        raise errors.ConfigurationError(f"timeout of {name!r} is {value!r}", "give seconds, more than 0")
    return None if seconds is None else float(seconds)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _rate(value: Any) -> tuple[int, float] | None:
    """`"10/s"`, `"100 per minute"`, calls per second as a number, or (calls, seconds)."""
    if value is None:
        return None
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    calls, seconds = (int(found[1]), _SECONDS[found[2][0]]) if found else (value, 1.0)
    if isinstance(value, tuple) and len(value) == 2:
        calls, seconds = value
    if not (isinstance(calls, int) and _positive(calls) and _positive(seconds)):
        raise errors.ConfigurationError(f"rate {value!r} is no rate", 'write "10/s", "100/min" or (calls, seconds)')
    return calls, float(seconds)


def _untrusted(name: str, options: Mapping[str, Any]) -> bool | tuple[str, ...]:
    """Output of outside systems is untrusted unless the registration says otherwise."""
    value = options.get("untrusted_output")
    if value is None:
        return bool(options.get("system")) and not options.get("registers")
    if isinstance(value, bool):
        return value
    pointers = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple, set)) else None
    if pointers is None or not all(isinstance(one, str) and one.startswith("/") for one in pointers):
        raise errors.ConfigurationError(
            f"untrusted_output of {name!r} is {value!r}", 'say True, False, or JSON pointers as ["/note"]'
        )
    return pointers


def _put(known: dict[str, Any], name: str, value: Any) -> None:
    if known.setdefault(name, value) != value:
        raise errors.Conflict(f"{name!r} is registered with other content", "choose another name")
