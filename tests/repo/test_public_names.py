"""Names that are promised exist: those of the entrance, and every `__all__`."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import interlock

PUBLIC = [
    "ControlPlane",
    "Workflow",
    "Agent",
    "Person",
    "Rule",
    "Authority",
    "Decision",
    "Money",
    "Untrusted",
    "ToolContext",
    "ToolResult",
    "Reason",
    "Page",
    "Happened",
    "DidNotHappen",
    "Unsure",
    "tool",
    "governed",
    "run",
    "errors",
    "testing",
]


def modules() -> list[str]:
    """Every module of the package, but those that start something when imported."""
    found = (m.name for m in pkgutil.walk_packages(interlock.__path__, "interlock."))
    return sorted(name for name in found if not name.endswith((".__main__", ".env")) and ".versions." not in name)


def test_the_entrance_promises_exactly_the_public_names() -> None:
    assert sorted(interlock.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(interlock))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves(name: str) -> None:
    value = getattr(interlock, name)
    expected = ModuleType if name in ("errors", "testing") else object
    assert isinstance(value, expected)
    assert getattr(value, "__name__", name).rpartition(".")[2] == name
    assert getattr(interlock, name) is value


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Control'"):
        _ = interlock.Control  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue] - it does not exist


def test_importing_the_entrance_loads_no_layer() -> None:
    code = "import sys, interlock; print(sorted(m for m in sys.modules if m.startswith(('interlock.', 'langgraph'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", modules())
def test_names_in_all_exist(name: str) -> None:
    module = importlib.import_module(name)
    missing = [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)]
    assert missing == []
