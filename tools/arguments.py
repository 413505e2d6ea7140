"""Arguments of a tool: from a signature, a pydantic model or a JSON schema; validated strictly."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from interlock import errors
from interlock.ids import canonical

__all__ = ["Arguments", "Values", "finite", "from_function", "from_schema"]


class Values(dict[str, Any]):
    """Validated arguments: `args["amount"]` and `args.amount` both work."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True)
class Arguments:
    """`schema` is the JSON schema (closed at the top level). `check` raises InputError.

    It gives two readings: JSON values for digest, policy and ledger, and Python values for the tool.
    """

    schema: Mapping[str, Any]
    model: type[BaseModel] | None = None
    _validator: Any = field(default=None, repr=False)

    def check(self, raw: Any) -> tuple[dict[str, Any], Values]:
        if not isinstance(raw, Mapping) or not all(isinstance(name, str) for name in raw):
            raise errors.InputError("arguments are no object with string keys", "give a dict")
        if not finite(raw):
            raise errors.InputError("NaN and infinity are no arguments", "give finite numbers")
        body = canonical(dict(raw))
        return self._by_model(raw, body) if self.model else self._by_schema(dict(raw))

    def _by_schema(self, raw: dict[str, Any]) -> tuple[dict[str, Any], Values]:
        problems = [_where(e.instance_path) + e.message for e in self._validator.iter_errors(raw)]
        if problems:
            raise errors.InputError("; ".join(problems[:5]), "see the tool's schema")
        return raw, Values(raw)

    def _by_model(self, raw: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], Values]:
        assert self.model is not None
        if extra := sorted(set(raw) - set(self.schema.get("properties", {}))):
            raise errors.InputError(f"unknown arguments: {', '.join(extra)}", "see the tool's schema")
        try:
            parsed = self.model.model_validate_json(body, strict=True)
        except ValidationError as exc:
            problems = [_where(e["loc"]) + e["msg"] for e in exc.errors(include_url=False, include_input=False)]
            raise errors.InputError("; ".join(problems[:5]), "see the tool's schema") from None
        values = Values({name: getattr(parsed, name) for name in type(parsed).model_fields})
        return parsed.model_dump(mode="json"), values


def from_schema(schema: Any) -> Arguments:
    """From a pydantic model or a JSON schema of an object. Raises ConfigurationError."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return Arguments({**schema.model_json_schema(), "additionalProperties": False}, schema)
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise errors.ConfigurationError("args_schema is no object schema", "give a pydantic model or a JSON schema")
    closed = {"type": "object", "additionalProperties": False, **schema}
    try:
        return Arguments(closed, None, jsonschema_rs.validator_for(closed))
    except ValueError as exc:
        raise errors.ConfigurationError(f"args_schema is no JSON schema: {exc}", "see json-schema.org") from exc


def from_function(fn: Callable[..., Any]) -> Arguments:
    """From the signature of a function; its parameter `ctx` is the plane's and no argument."""
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(fn, eval_str=True).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise errors.ConfigurationError(f"{fn!r} takes {parameter}", "name every argument, or give args_schema=")
        if name != "ctx":
            annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
            fields[name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    model: type[BaseModel] = create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
    return from_schema(model)


def finite(value: Any) -> bool:
    """Whether no number in a JSON-like value is NaN or infinite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(finite(item) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(finite(item) for item in value)
    return True


def _where(path: Any) -> str:
    place = ".".join(str(part) for part in path)
    return f"{place}: " if place else ""
