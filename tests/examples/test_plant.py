"""The plant's setup: what it registers, where its data lies, and what it says when something is wrong."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import pytest

from interlock import ControlPlane, errors
from interlock.agents.roster.history import GUIDES
from interlock.examples.enterprise.cmms import create_app
from interlock.examples.enterprise.cmms_store import CmmsStore
from interlock.examples.enterprise.plant import OPERATOR, PEOPLE, REQUESTER, setup
from interlock.examples.enterprise.reference import RULE_CODES, SAMPLE
from interlock.settings import Settings

ALERT = {"equipment_id": "FM1-PU01", "rule_id": "FR01", "start_time": "2026-03-02 05:10"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CMMS_URL", "CMMS_TOKEN", "INTERLOCK_CREDENTIAL_CMMS"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def opened(home: Path | None, **options: Any) -> AsyncIterator[ControlPlane]:
    url = ":memory:" if home is None else f"sqlite:///{home / 'interlock.db'}"
    async with ControlPlane.open(url, settings=Settings.load()) as plane, setup(plane, **options):
        yield plane


async def completes(plane: ControlPlane) -> bool:
    case = await plane.start("maintenance", ALERT, requester=REQUESTER)
    return (await plane.wait(case.id, timeout=30)).status == "completed"


async def test_it_fills_a_plane_that_its_policies_fit() -> None:
    async with opened(None) as plane:
        await plane.ready()
        assert plane.policies.check() == []
        assert {"triage", "diagnostician", "planner", "clerk", "closer"} <= {agent.name for agent in plane.agents}
        assert all(plane.services.actors.get(person.id) == person for person in PEOPLE)
        assert await completes(plane)


async def test_a_home_keeps_the_cmms_beside_the_plane(tmp_path: Path) -> None:
    async with opened(tmp_path) as plane:
        assert await completes(plane)
    store = CmmsStore(tmp_path / "cmms.db")
    assert (store.stats()["work_orders"], store.stats()["refused_doubles"]) == (1, 0)
    store.close()


async def test_without_a_reference_the_home_keeps_what_it_has(tmp_path: Path) -> None:
    other = Path(copytree(SAMPLE, tmp_path / "other"))
    with (other / RULE_CODES).open("a") as file:
        file.write("FR99,Only here,M101,Bearing wear\n")
    home = tmp_path / "home"
    async with opened(home, reference=other):
        pass
    async with opened(home) as plane:
        result = await plane.call_tool("cmms.rule", {"rule": "FR99"}, actor="agent:triage")
        assert result.value["name"] == "Only here"
    async with opened(home, reference=SAMPLE) as plane:
        assert (await plane.call_tool("cmms.rule", {"rule": "FR99"}, actor="agent:triage")).value is None


async def test_the_guides_are_ingested_once(tmp_path: Path) -> None:
    async with opened(tmp_path, reference=SAMPLE) as plane:
        await plane.ready()
        facts = await plane.context.query("bearing runs rough", k=1, where={"source": GUIDES})
        assert facts[0].document_id == "M101.md"
    async with opened(tmp_path, reference=SAMPLE) as plane:
        ingests = [event async for event in plane.ledger.export() if event["type"] == "context.ingested"]
    assert [event["data"]["ingested"] for event in ingests][:1] == [16]
    assert sum(event["data"]["ingested"] for event in ingests) == 16


@pytest.mark.parametrize("damage", ["line", "column", "file", "folder"])
async def test_malformed_reference_data_is_said_and_changes_nothing(tmp_path: Path, damage: str) -> None:
    home, bad = tmp_path / "home", Path(copytree(SAMPLE, tmp_path / "bad"))
    async with opened(home):
        pass
    path = bad / RULE_CODES
    text = path.read_text()
    damages: dict[str, Callable[[], object]] = {
        "line": lambda: path.write_text(text + "FR01,too few\n"),
        "column": lambda: path.write_text(text.replace("primary_code,", "code,")),
        "file": path.unlink,
        "folder": lambda: bad.rename(tmp_path / "elsewhere"),
    }
    damages[damage]()
    with pytest.raises(errors.InputError, match=re.escape(str(bad))) as failed:
        async with opened(home, reference=bad):
            pytest.fail("the plant opened with malformed data")
    assert failed.value.hint
    async with opened(home) as plane:
        assert await completes(plane), "the data that was there is still there"


async def test_the_credential_of_this_process_is_never_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: "planted-credential-7f3a")
    async with opened(tmp_path) as plane:
        assert await completes(plane)
        assert "planted-credential" not in repr(plane.services.gateway.credentials)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if b"planted-credential" in path.read_bytes()] == []


async def test_a_wrong_credential_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_CREDENTIAL_CMMS", "not-the-right-one")
    with pytest.raises(errors.ToolFailed, match="refuses the credential") as failed:
        async with opened(tmp_path):
            pytest.fail("the plant opened with a wrong credential")
    assert "credential" in failed.value.hint
    assert "not-the-right-one" not in str(failed.value)


async def test_environment_and_server_may_agree_on_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERLOCK_CREDENTIAL_CMMS", "shared-secret")
    monkeypatch.setenv("CMMS_TOKEN", "shared-secret")
    async with opened(tmp_path) as plane:
        assert await completes(plane)


# -- a CMMS elsewhere


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, store: CmmsStore) -> CmmsStore:
    """`CMMS_URL` names a server, which answers without a network."""
    app = httpx.ASGITransport(create_app(store, {"server-secret": "write"}), raise_app_exceptions=False)
    monkeypatch.setattr("httpx.AsyncHTTPTransport", lambda **_: app)
    monkeypatch.setenv("CMMS_URL", "http://cmms.example:8790")
    return store


async def test_a_server_by_url_is_used_in_place_of_the_own_one(
    tmp_path: Path, elsewhere: CmmsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERLOCK_CREDENTIAL_CMMS", "server-secret")
    async with opened(tmp_path / "home") as plane:
        assert await completes(plane)
        assert not any(plane.services.tools.get(name).sandbox for name in ("cmms.report", "cmms.create_work_order"))
    assert elsewhere.stats()["work_orders"] == 1
    assert not (tmp_path / "home" / "cmms.db").exists()


@pytest.mark.usefixtures("elsewhere")
async def test_a_server_without_a_credential_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="no credential") as failed:
        async with opened(tmp_path / "home"):
            pytest.fail("the plant opened without a credential")
    assert "INTERLOCK_CREDENTIAL_CMMS" in failed.value.hint


async def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("INTERLOCK_CREDENTIAL_CMMS", "any")
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:9") as failed:
        async with opened(tmp_path):
            pytest.fail("the plant opened without its CMMS")
    assert "address" in failed.value.hint


async def test_the_own_cmms_is_a_sandbox_and_its_tools_say_so() -> None:
    async with opened(None) as plane:
        writes = [
            spec for spec in map(plane.services.tools.get, ("cmms.report", "cmms.assign", "cmms.close")) if spec.writes
        ]
        assert len(writes) == 3
        assert all(spec.sandbox for spec in writes)


async def test_leaving_drains_the_plane_before_its_systems_go(tmp_path: Path) -> None:
    """Cases that run when the project is left stop at a step; none of them meets a closed system."""
    async with opened(tmp_path) as plane:
        alerts = [{**ALERT, "start_time": f"2026-03-{day:02} 05:10"} for day in range(1, 11)]
        cases = await plane.start_many("maintenance", alerts, requester=REQUESTER)
    async with opened(tmp_path) as plane:
        ended = await plane.wait_all([case.id for case in cases if not isinstance(case, errors.InterlockError)])
        assert [case.status for case in ended] == ["completed"] * 10
        assert (await plane.inbox.list()).items == []


def test_people_are_who_they_say_and_nobody_is_an_agents_owner() -> None:
    ids = [person.id for person in PEOPLE]
    assert {REQUESTER, OPERATOR} <= set(ids)
    assert len(ids) == len(set(ids))
    assert "person:maintenance" not in ids, "the team's owner may not approve, so nobody is named like it"
