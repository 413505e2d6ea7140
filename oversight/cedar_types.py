"""JSON Schema to Cedar types, and values to what a policy may see of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["BOOL", "LONG", "STRING", "STRINGS", "CedarType", "optional", "project", "record", "record_of"]

CedarType = dict[str, Any]

BOOL: CedarType = {"type": "Boolean"}
LONG: CedarType = {"type": "Long"}
STRING: CedarType = {"type": "String"}
STRINGS: CedarType = {"type": "Set", "element": STRING}
_PRIMITIVES = {"boolean": BOOL, "integer": LONG, "string": STRING}
# Cedar's JSON reads these keys as entities and function calls, so no argument may bring them.
_RESERVED = frozenset({"__entity", "__extn", "__expr"})
_DEPTH = 6


def record(attributes: Mapping[str, CedarType]) -> CedarType:
    return {"type": "Record", "attributes": dict(attributes)}


def optional(cedar: CedarType) -> CedarType:
    return {**cedar, "required": False}


def record_of(schema: Mapping[str, Any]) -> CedarType:
    """The record type of a JSON schema of an object.

    Integers, strings, booleans, lists and objects with named properties are visible; numbers with a fraction,
    free-form objects and unions are left out. What may be absent or null is optional.
    """
    return _record(schema, schema, _DEPTH)


def _record(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> CedarType:
    required = set(schema.get("required", ()))
    attributes: dict[str, CedarType] = {}
    for name, sub in schema.get("properties", {}).items():
        cedar, nullable = _type(sub, root, depth - 1)
        if cedar is not None and name not in _RESERVED:
            attributes[name] = cedar if name in required and not nullable else optional(cedar)
    return record(attributes)


def _type(schema: Any, root: Mapping[str, Any], depth: int) -> tuple[CedarType | None, bool]:
    """The Cedar type, or None if invisible, and whether null is allowed."""
    if not isinstance(schema, Mapping) or depth < 0:
        return None, False
    if "$ref" in schema:
        return _type(_resolve(schema["$ref"], root), root, depth - 1)
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return _union(schema[union], root, depth)
    if "enum" in schema or "const" in schema:
        return _literals(schema.get("enum", [schema.get("const")]))
    return _plain(schema, root, depth)


def _plain(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> tuple[CedarType | None, bool]:
    names = schema.get("type", ())
    names = [names] if isinstance(names, str) else list(names)
    nullable = "null" in names
    kinds = [name for name in names if name != "null"]
    if len(kinds) != 1:
        return None, nullable
    if kinds[0] == "array":
        element, _ = _type(schema.get("items"), root, depth - 1)
        return ({"type": "Set", "element": element} if element else None), nullable
    if kinds[0] == "object":
        return (_record(schema, root, depth) if "properties" in schema else None), nullable
    return _PRIMITIVES.get(kinds[0]), nullable


def _union(variants: list[Any], root: Mapping[str, Any], depth: int) -> tuple[CedarType | None, bool]:
    found = [_type(variant, root, depth) for variant in variants if variant != {"type": "null"}]
    nullable = len(found) < len(variants) or any(null for _, null in found)
    kinds = [cedar for cedar, _ in found]
    same = bool(kinds) and all(kind == kinds[0] for kind in kinds)
    return (kinds[0] if same else None), nullable


def _literals(values: list[Any]) -> tuple[CedarType | None, bool]:
    kinds = {type(value) for value in values if value is not None}
    nullable = None in values
    cedar = {str: STRING, bool: BOOL, int: LONG}.get(kinds.pop()) if len(kinds) == 1 else None
    return cedar, nullable


def _resolve(ref: str, root: Mapping[str, Any]) -> Any:
    target: Any = root
    for part in ref.removeprefix("#/").split("/"):
        target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
    return target


def project(cedar: CedarType, value: Any) -> Any:
    """What a policy sees of a value: declared parts only, null left out.

    A value of another type passes unchanged, so that Cedar refuses the request instead of guessing.
    """
    kind = cedar["type"]
    if kind == "Record" and isinstance(value, Mapping):
        return _project_record(cedar, value)
    if kind == "Set" and isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [project(cedar["element"], item) for item in items if item is not None]
    if kind == "Long" and isinstance(value, float) and value.is_integer():
        return int(value)  # JSON Schema counts 5.0 as an integer
    return value


def _project_record(cedar: CedarType, value: Mapping[str, Any]) -> dict[str, Any]:
    attributes = cedar["attributes"]
    return {
        name: project(sub, value[name]) for name, sub in attributes.items() if name in value and value[name] is not None
    }
