"""The plant that comes with the project: fills a plane with its CMMS, specialists, people, guides and workflow.

The CMMS runs in this process, with its database in the home, unless `CMMS_URL` names a server.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from interlock import errors
from interlock.agents.roster import maintenance_team
from interlock.agents.roster.history import GUIDES
from interlock.examples.enterprise.cmms import create_app
from interlock.examples.enterprise.cmms_store import CmmsStore
from interlock.examples.enterprise.faults import Fault, Faulty
from interlock.examples.enterprise.guides import read_guides
from interlock.examples.enterprise.reference import SAMPLE, read_reference
from interlock.graphs.workflows import maintenance
from interlock.money import Money
from interlock.oversight.actors import Person
from interlock.plane import ControlPlane
from interlock.tools.systems.cmms import Cmms, tools

__all__ = ["OPERATOR", "PEOPLE", "REQUESTER", "setup"]

REQUESTER, OPERATOR = "person:requester", "person:operator"

PEOPLE = (
    Person("requester", roles={"requester"}),
    Person("operator", roles={"operator"}),
    Person("shift-lead", authorities={"maintenance": Money.of("5000", "USD")}),
    Person("maintenance-manager", authorities={"maintenance": Money.of("25000", "USD")}),
    Person("plant-manager", authorities={"plant": Money.of("100000", "USD")}),
)


@asynccontextmanager
async def setup(
    plane: ControlPlane, reference: Path | None = None, faults: Sequence[Fault | Mapping[str, Any]] = ()
) -> AsyncIterator[None]:
    """Fill a plane. `reference` replaces the plant's data (CSV files, guides); without it, what the home has stays.

    Raises InputError with file and line for bad reference data, Unreachable and ToolFailed when the CMMS does not
    answer or refuses the credential, ConfigurationError when there is no credential for it.
    """
    async with AsyncExitStack() as stack:
        url = os.environ.get("CMMS_URL")
        store = None if url else await _open_store(plane, stack)
        transport = httpx.AsyncHTTPTransport(trust_env=False) if store is None else _in_process(plane, store)
        cmms = Cmms(url or "http://cmms.internal", Faulty(transport, faults) if faults else transport)
        stack.push_async_callback(cmms.aclose)
        await cmms.check(_credential(plane))
        await _load(plane, store, reference)
        _register(plane, cmms, sandbox=store is not None)
        stack.push_async_callback(plane.close)  # runs first: the cases stop before their systems go
        yield


async def _open_store(plane: ControlPlane, stack: AsyncExitStack) -> CmmsStore:
    store = await asyncio.to_thread(CmmsStore, None if plane.home is None else plane.home / "cmms.db")
    stack.push_async_callback(asyncio.to_thread, store.close)
    return store


def _in_process(plane: ControlPlane, store: CmmsStore) -> httpx.ASGITransport:
    """The way to our own CMMS; its credential is made anew each time and never leaves this process."""
    secret = os.environ.get("CMMS_TOKEN") or secrets.token_urlsafe(32)
    plane.services.gateway.credentials.offer("cmms", secret)
    return httpx.ASGITransport(create_app(store, {secret: "write"}), raise_app_exceptions=False)


async def _load(plane: ControlPlane, store: CmmsStore | None, folder: Path | None) -> None:
    """Guides, and the data of our own CMMS. All is read before anything is written; the CMMS is marked last."""
    loaded = None if store is None else await asyncio.to_thread(store.loaded)
    if folder is None and loaded:
        return
    source = folder or SAMPLE
    reference, guides = await asyncio.to_thread(lambda: (read_reference(source), read_guides(source)))
    await plane.context.ingest(GUIDES, guides)
    if store is not None:
        await asyncio.to_thread(store.load, reference)


def _register(plane: ControlPlane, cmms: Cmms, *, sandbox: bool) -> None:
    for entry in tools(cmms, sandbox=sandbox):
        plane.register_tool(entry)
    for actor in (*maintenance_team(), *PEOPLE):
        plane.register_actor(actor)
    plane.register(maintenance.wf)


def _credential(plane: ControlPlane) -> str:
    credential = plane.services.gateway.credentials.of("cmms")
    if credential is None:
        hint = "set INTERLOCK_CREDENTIAL_CMMS, or name a file in the setting credentials_file"
        raise errors.ConfigurationError("there is no credential for the CMMS", hint)
    return credential
