"""Facts of a case: kept once, listed with source, time and trust; and fields of results that vouch for their kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from interlock import errors
from interlock.tools.facts import Found, keeping, kept, listed
from tests.tools.plant import CASE, Plant, plant
from tests.tools.test_provenance import ANYTHING, origins, traced

AT = "2026-03-02T08:00:00.000000Z"


@pytest.fixture
async def one() -> AsyncIterator[Plant]:
    async with plant(policies=ANYTHING) as made:

        async def send(to: Any) -> str:
            return await made.world.act(f"mail {to}")

        def lookup(key: str = "") -> dict[str, Any]:
            return {"mail": "real@acme.com", "size": 13, "sites": [{"host": "www.acme.org"}], "note": "x@bad.com"}

        kinds = {"/mail": "address", "/sites/*/host": "host"}
        made.tools.register(send, name="mail.send", system="mail", effect="write", targets={"to": "address"})
        made.tools.register(send, name="web.open", system="web", effect="write", targets={"to": "host"})
        made.tools.register(send, name="file.drop", system="web", effect="write", targets={"to": "file"})
        made.tools.register(lookup, name="crm.any", effect="read")
        made.tools.register(lookup, name="crm.typed", effect="read", untrusted_output=["/note"], output_kinds=kinds)
        made.bind()
        await made.case()
        yield made


async def test_facts_are_kept_once_and_listed_in_order(one: Plant) -> None:
    open_ = Found("document", "docs/a", {"text": "hello"}, AT, "1", "2026-01-01T00:00:00.000000Z", "trusted")
    secret = Found("document", "docs/b", {"text": "salaries"}, AT, labels=("role:hr",))
    child = Found("case", "0190", {"found": "x"}, AT)
    for _ in range(2):
        await one.db.commit(keeping("default", CASE, [open_, secret, child]))
    found = await one.db.read(lambda tx: [replace(fact, hash="") for fact in kept(tx, "default", CASE)])
    assert sorted(found, key=lambda fact: fact.source) == [child, open_, secret]
    await one.gateway.call("crm.typed", {"key": "k"}, one.site())
    told = await one.db.read(lambda tx: listed(tx, "default", CASE, one.tools))
    about = [(f["kind"], f["source"], f["trust"], f["value"] is None) for f in told]
    assert (about[0], about[-1]) == (
        ("document", "docs/a", "trusted", False),
        ("tool", "crm.typed", "trusted, but /note", False),
    )
    assert set(about[1:3]) == {("case", "0190", "as its own sources", False), ("document", "docs/b", "untrusted", True)}
    assert "salaries" not in str(told)
    assert await one.db.read(lambda tx: listed(tx, "other", CASE, one.tools)) == []


async def test_a_tool_that_is_not_registered_is_not_trusted(one: Plant) -> None:
    await one.gateway.call("crm.any", {"key": "k"}, one.site())
    one.tools._specs.pop("crm.any")
    (told,) = await one.db.read(lambda tx: listed(tx, "default", CASE, one.tools))
    assert told["trust"] == "untrusted: not registered"


async def test_a_field_vouches_for_its_kind_only(one: Plant) -> None:
    """A host is no address, and a size is no file, where a tool says what its fields are."""
    await one.gateway.call("crm.typed", {"key": "k"}, one.site())
    assert (await traced(one, "web.open", {"to": "real@acme.com"}))["to"] == {"unknown"}
    assert (await traced(one, "web.open", {"to": "www.acme.org"}, 1))["to"] == {"output"}
    assert await origins(one, "real@acme.com") == {"output"}
    assert (await traced(one, "file.drop", {"to": "13"}))["to"] == {"unknown"}
    assert (await traced(one, "mail.send", {"to": "x@bad.com"}, 2))["to"] == {"untrusted"}


async def test_a_tool_that_says_nothing_of_kinds_vouches_for_any(one: Plant) -> None:
    await one.gateway.call("crm.any", {"key": "k"}, one.site())
    assert (await traced(one, "file.drop", {"to": "13"}))["to"] == {"output"}


@pytest.mark.parametrize("kinds", [["/a"], {"a": "k"}, {"/a": ""}, {"/a": 1}, {1: "k"}, "k"])
def test_kinds_of_fields_are_texts_at_pointers(one: Plant, kinds: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="output_kinds"):
        one.tools.register(lambda: None, name="crm.wrong", effect="read", output_kinds=kinds)
