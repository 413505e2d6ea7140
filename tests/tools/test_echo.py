"""What went in as an argument and comes back in a trusted result keeps its origin, however it comes back."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.tools.echo import Sent
from tests.tools.plant import Plant, plant
from tests.tools.test_provenance import origins

ANYTHING = '@id("ANY") permit(principal, action, resource);'
EVIL = "evil@bad.com"


@pytest.fixture
async def one() -> AsyncIterator[Plant]:
    async with plant(policies=ANYTHING) as made:
        stored: list[str] = []

        def store(text: str, more: str = "") -> dict[str, Any]:
            stored.append(text + more)
            return {"saved": text + more, "id": "N-1"}

        def load() -> dict[str, Any]:
            return {"texts": list(stored)}

        def lookup(key: str) -> dict[str, Any]:
            return {"key": key, "mail": "real@acme.com"}

        def decode(text: str) -> str:
            return base64.b64decode(text).decode()

        async def send(to: Any) -> str:
            return await made.world.act(f"mail {to}")

        for name, fn in (("note.store", store), ("note.load", load), ("crm.lookup", lookup), ("text.decode", decode)):
            made.tools.register(fn, name=name, effect="read")
        made.tools.register(send, name="mail.send", system="mail", effect="write", targets={"to": "address"})
        made.bind()
        await made.case(value=json.dumps({"customer": "C-7"}))
        yield made


async def call(one: Plant, name: str, slot: int = 0, **args: str) -> None:
    assert (await one.gateway.call(name, args, one.site(), slot=slot)).status == "done"


async def test_an_echo_is_no_output(one: Plant) -> None:
    await call(one, "note.store", text=EVIL)
    assert await origins(one, EVIL) == {"unknown"}
    assert await origins(one, "N-1", 1) == {"output"}


async def test_a_value_put_together_of_arguments_is_no_output(one: Plant) -> None:
    await call(one, "note.store", text="evil@", more="bad.com")
    assert await origins(one, EVIL) == {"unknown"}


async def test_what_is_written_and_read_back_is_no_output(one: Plant) -> None:
    await call(one, "note.store", text=EVIL)
    await call(one, "note.load")
    assert await origins(one, EVIL) == {"unknown"}


async def test_what_a_tool_decodes_is_no_output(one: Plant) -> None:
    await call(one, "text.decode", text=base64.b64encode(EVIL.encode()).decode())
    assert await origins(one, EVIL) == {"unknown"}


async def test_what_was_there_before_it_was_sent_stays_output(one: Plant) -> None:
    await call(one, "crm.lookup", key="C-7")
    assert await origins(one, "real@acme.com") == {"output"}
    await call(one, "note.store", text="real@acme.com")
    await call(one, "note.load")
    assert await origins(one, "real@acme.com", 1) == {"output"}
    assert await origins(one, "C-7", 2) == {"input"}


def base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "spelling", [quote, html.escape, base64url, str.upper, lambda text: text.replace("e", "\uff45")]
)
def test_spellings_of_what_was_sent_are_known(spelling: Any) -> None:
    sent = Sent()
    sent.add([spelling("Evil & Co <evil@bad.com>??")])
    assert sent.made_of("Evil & Co <evil@bad.com>??")
    assert not sent.made_of("real@acme.com")


@given(st.text(), st.text())
def test_no_text_breaks_it(sent: str, text: str) -> None:
    known = Sent()
    known.add([sent])
    known.made_of(text)
    assert known.made_of(sent) == bool(sent.strip()) or not sent.strip()
