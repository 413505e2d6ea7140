"""The reference CMMS with the sample plant, over HTTP in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from interlock.examples.enterprise.cmms import create_app
from interlock.examples.enterprise.cmms_store import CmmsStore
from interlock.examples.enterprise.reference import SAMPLE, read_reference
from interlock.tools.systems.cmms import Cmms

TOKEN, READER = "writer-credential", "reader-credential"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CmmsStore]:
    opened = CmmsStore(tmp_path / "cmms.db")
    opened.load(read_reference(SAMPLE))
    yield opened
    opened.close()


@pytest.fixture
def transport(store: CmmsStore) -> httpx.ASGITransport:
    return httpx.ASGITransport(create_app(store, {TOKEN: "write", READER: "read"}), raise_app_exceptions=False)


@pytest.fixture
async def http(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url="http://cmms", transport=transport, headers=bearer) as client:
        yield client


@pytest.fixture
async def cmms(transport: httpx.ASGITransport) -> AsyncIterator[Cmms]:
    client = Cmms(transport=transport)
    yield client
    await client.aclose()
