"""The files of the suites: whole, general, and ignorant of what attackers do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interlock import errors
from interlock.evals.redteam import ground
from interlock.evals.redteam.ground import Ground, Kind, Secrets, load, values_at

SUITES = ("banking", "slack", "travel", "workspace")
LEAST: dict[str, Any] = {
    "system": "s",
    "kinds": {"k": {"means": "things", "known": ["list.*.name"]}},
    "tools": {
        "t": {"effect": "write", "scope": "s:write", "targets": {"a": "k"}},
        "r": {"effect": "read", "scope": "s"},
    },
    "steps": {"one": {"for": "one", "tools": ["r"]}, "two": {"for": "both", "with": ["one"], "tools": ["t", "r"]}},
    "tasks": {"u": {"step": "two", "asks": "for both"}},
}
PLACE = SimpleNamespace(
    list=[SimpleNamespace(name="a"), SimpleNamespace(name="b")], map={"x": SimpleNamespace(name="c")}
)


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_has_its_files(suite: str) -> None:
    assert load(suite).tasks
    assert (ground.FOLDER / "policies" / f"{suite}.cedar").is_file()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("tools", {"t": {"effect": "write", "scope": "s", "targets": {"a": "nope"}}}),
        ("tools", {"t": {"effect": "write", "scope": "s", "targets": {"a": ["nope"]}}}),
        ("tools", {"t": {"effect": "sometimes", "scope": "s"}}),
        ("tools", {"t": {"effect": "read", "scope": "s", "target": {}}}),
        ("steps", {"one": {"for": "one", "tools": ["nope"]}}),
        ("steps", {"two": {"for": "one", "with": ["nope"]}}),
        ("tasks", {"u": {"step": "nope", "asks": "for nothing"}}),
        ("kinds", {"k": {"means": "things", "form": "nope"}}),
    ],
)
def test_what_is_misspelled_is_found(part: str, change: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    assert Ground.model_validate(LEAST)
    with pytest.raises(ValueError, match=r"nope|sometimes|target"):
        Ground.model_validate({**LEAST, part: {**LEAST[part], **change}})
    monkeypatch.setattr(ground, "FOLDER", tmp_path)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "bad.yaml").write_text(f"system: s\n{part}: 7\n")
    with pytest.raises(errors.ConfigurationError, match=part):
        load("bad")
    with pytest.raises(errors.ConfigurationError, match="cannot read"):
        load("missing")


def test_a_step_has_the_tools_of_the_steps_in_it_once() -> None:
    found = Ground.model_validate(LEAST)
    assert found.tools_of("two") == ["r", "t"]
    assert sorted(found.without("steps").tools_of("one")) == ["r", "t"]
    assert found.without("provenance").tools["t"].targets == {}
    assert found.tools_of("one") == ["r"], "the first is left as it was"


def test_values_lie_at_paths_through_lists_and_mappings() -> None:
    assert list(values_at(PLACE, "list.*.name")) == ["a", "b"]
    assert list(values_at(PLACE, "map.*.name")) == ["c"]
    with pytest.raises(AttributeError):
        list(values_at(PLACE, "list.*.nme"))
    spaced = SimpleNamespace(name=" e\u0301 ")
    assert Kind(means="things", known=["name"]).registry(spaced) == {"\u00e9": " e\u0301 "}
    assert Kind(means="things", known=["list.*.name", "map.*.name"]).registry(PLACE) == {"a": "a", "b": "b", "c": "c"}


@pytest.mark.parametrize("text", ["my card 4237-4252", "card: 4237 4252!", "x42374252x"])
def test_secrets_are_seen_however_they_are_set_off(text: str) -> None:
    user = SimpleNamespace(card="4237-4252", passport="HGK1")
    secrets = Secrets(fields=["card", "passport"], tools=["t"])
    assert secrets.held(text, user) == {"card"}
    assert secrets.held("4237", user) == set()


@pytest.mark.parametrize("suite", SUITES)
def test_no_file_knows_what_an_attacker_wants(suite: str) -> None:
    """The audit: nothing that an attacker's call is aimed at or says, and no task of an attacker, stands in a file."""
    dojo_module = pytest.importorskip("interlock.evals.redteam.dojo", reason="agentdojo is not installed")
    dojo = dojo_module.Dojo(suite)
    environment = dojo.stage(dojo.users[0]).before
    files = [ground.FOLDER / "suites" / f"{suite}.yaml", ground.FOLDER / "policies" / f"{suite}.cedar"]
    texts = "\n".join(path.read_text("utf-8") for path in files).casefold()
    assert "injection" not in texts
    said = {
        text for attack in dojo.attacks for call in dojo.attacking(attack, environment) for text in _texts(call.args)
    }
    ordinary = {"general"}  # a word of English, and the name of a channel
    assert [text for text in sorted(said - ordinary) if len(text) > 2 and text.casefold() in texts] == []


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [str(value)]
