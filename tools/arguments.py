"""Arguments of a tool: from a signature, a pydantic model or a JSON schema; validated strictly."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Optional

import jsonschema_rs
import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticUserError

from interlock import errors
from interlock.ids import canonical

__all__ = ["LARGEST", "Arguments", "Values", "finite", "from_function", "from_schema"]

LARGEST = 1_000_000
_HINT = "see the tool's schema"


class Values(dict[str, Any]):
    """Validated arguments: `args["amount"]` and `args.amount` both work."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


Read = Callable[[bytes], tuple[dict[str, Any], Values]]


@dataclass(frozen=True)
class Arguments:
    """`schema` is the JSON schema (closed at the top level), `names` the keys of the Python values."""

    schema: Mapping[str, Any]
    names: frozenset[str]
    _read: Read = field(repr=False)

    def check(self, raw: Any) -> tuple[dict[str, Any], Values]:
        """Two readings of the arguments: JSON values for digest, policy and ledger, Python values for the tool.

        Both are copies: what the caller goes on changing is not what runs. Raises InputError.
        """
        if not isinstance(raw, Mapping) or not all(isinstance(name, str) for name in raw):
            raise errors.InputError("arguments are no object with string keys", "give a dict")
        if not finite(raw):
            raise errors.InputError("NaN and infinity are no arguments", "give finite numbers")
        body = canonical(dict(raw))
        if len(body) > LARGEST:
            raise errors.InputError(f"arguments take {len(body)} bytes", f"at most {LARGEST}; pass a reference instead")
        return self._read(body)

    def knows(self, name: str) -> bool:
        """Whether an argument of this name may be given; an open schema knows any."""
        return name in self.names or name in self._properties or bool(self.schema.get("additionalProperties"))

    @property
    def _properties(self) -> Mapping[str, Any]:
        properties: Mapping[str, Any] = self.schema.get("properties", {})
        return properties


def from_schema(schema: Any) -> Arguments:
    """From a pydantic model or a JSON schema of an object. Raises ConfigurationError."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return _of_type(schema, frozenset(schema.model_fields))
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise errors.ConfigurationError("args_schema is no object schema", "give a pydantic model or a JSON schema")
    closed = {"type": "object", "additionalProperties": False, **schema}
    try:
        validator = jsonschema_rs.validator_for(closed, retriever=_nothing_outside)
    except ValueError as exc:
        raise errors.ConfigurationError(f"args_schema is no JSON schema: {exc}", "see json-schema.org") from exc

    def read(body: bytes) -> tuple[dict[str, Any], Values]:
        plain = orjson.loads(body)
        if problems := [_where(e.instance_path) + e.message for e in validator.iter_errors(plain)]:
            raise _invalid(problems)
        return plain, Values(orjson.loads(body))

    return Arguments(closed, frozenset(closed.get("properties", ())), read)


def from_function(fn: Callable[..., Any]) -> Arguments:
    """From the signature of a function; its parameter `ctx` is the plane's and no argument.

    Raises ConfigurationError when it cannot be read, takes unnamed arguments, or types that JSON has no form for.
    """
    found = [(name, *_typed(parameter)) for name, parameter in _parameters(fn) if name != "ctx"]
    # A dataclass, since fields of a pydantic model cannot be called `schema`, `json` or `_id`.
    signature = with_config(ConfigDict(extra="forbid"))(make_dataclass("Arguments", found, kw_only=True))
    return _of_type(signature, frozenset(one.name for one in fields(signature)))


def finite(value: Any) -> bool:
    """Whether no number in a JSON-like value is NaN or infinite, however deep, even if it contains itself."""
    left, seen = [value], set[int]()
    while left:
        one = left.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return False
        if isinstance(one, (Mapping, list, tuple, set, frozenset)) and id(one) not in seen:
            seen.add(id(one))
            left.extend(one.values() if isinstance(one, Mapping) else one)
    return True


def _of_type(declared: type[Any], names: frozenset[str]) -> Arguments:
    """Arguments of a pydantic model or dataclass; nothing beside its fields is taken, whatever its own config says."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(declared)
        schema = {**adapter.json_schema(), "title": declared.__name__, "additionalProperties": False}
    except (PydanticUserError, NameError) as exc:
        raise errors.ConfigurationError(f"the arguments have no JSON schema: {exc}", "give args_schema=") from exc

    def read(body: bytes) -> tuple[dict[str, Any], Values]:
        if extra := sorted(orjson.loads(body).keys() - schema.get("properties", {}).keys()):
            raise errors.InputError(f"unknown arguments: {', '.join(extra)}", _HINT)
        try:
            parsed = adapter.validate_json(body, strict=True)
        except ValidationError as exc:
            found = exc.errors(include_url=False, include_input=False)
            raise _invalid([_where(e["loc"]) + e["msg"] for e in found]) from None
        plain = adapter.dump_python(parsed, mode="json", by_alias=True, warnings="none")
        return plain, Values({name: getattr(parsed, name) for name in names})

    return Arguments(schema, names, read)


def _parameters(fn: Callable[..., Any]) -> Iterator[tuple[str, inspect.Parameter]]:
    try:
        parameters = inspect.signature(fn, eval_str=True).parameters
    except (ValueError, TypeError, NameError) as exc:
        raise errors.ConfigurationError(f"the signature of {fn!r} cannot be read: {exc}", "give args_schema=") from exc
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise errors.ConfigurationError(f"{fn!r} takes {parameter}", "name every argument, or give args_schema=")
        yield name, parameter


def _typed(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """Annotation and default of a parameter, as `make_dataclass` takes them."""
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    if parameter.default is parameter.empty:
        return annotation, field()
    may_be_none = Optional[annotation] if parameter.default is None else annotation  # noqa: UP045  # made at run time
    return may_be_none, field(default_factory=lambda: deepcopy(parameter.default))


def _nothing_outside(uri: str) -> Any:
    raise ValueError(f"{uri} is outside the schema, and nothing is fetched")


def _invalid(problems: list[str]) -> errors.InputError:
    return errors.InputError("; ".join(problem[:200] for problem in problems[:5]), _HINT)


def _where(path: Any) -> str:
    place = ".".join(str(part) for part in path)
    return f"{place}: " if place else ""
