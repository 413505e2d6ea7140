"""Opens the lower layers of a plane, in order; what is opened is closed again when a later step fails."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from interlock import errors
from interlock.agents.models import Models
from interlock.clock import Clock, SystemClock
from interlock.context.context import Context
from interlock.graphs.services import Services
from interlock.ids import check_name
from interlock.observability import trace
from interlock.observability.ledger import Ledger
from interlock.observability.seal import Proof
from interlock.observability.sealer import Sealer
from interlock.oversight.actors import Actors
from interlock.oversight.inbox import Inbox
from interlock.oversight.leases import Leases
from interlock.oversight.limits import Limits
from interlock.oversight.policy import Policies
from interlock.oversight.switches import Switches
from interlock.settings import Settings
from interlock.storage.checkpoints import Checkpoints, strict_serializer
from interlock.storage.database import Database
from interlock.tools.credentials import Credentials
from interlock.tools.gateway import Gateway
from interlock.tools.registry import Tools
from interlock.tools.vault import Command

__all__ = ["Options", "open_services", "proof_of"]


@dataclass(frozen=True)
class Options:
    """How to open a plane; see `ControlPlane.open`."""

    url: str
    policies: Any
    clock: Clock
    settings: Settings
    tenant: str
    home: Path | None
    read_only: bool = False
    shadow: Any = None

    @classmethod
    def of(
        cls, url: str, *, policies: Any, shadow: Any, clock: Clock | None, engine: str, tenant: str,
        settings: Settings | None, read_only: bool,
    ) -> Options:  # fmt: skip
        """Checked, and made complete from the settings. Raises ConfigurationError."""
        if engine != "embedded":
            raise errors.ConfigurationError(f"there is no engine {engine!r}", 'use engine="embedded"')
        if not isinstance(url, str):
            raise errors.ConfigurationError(f"{url!r} is no database URL", "write sqlite:///PATH or :memory:")
        if clock is not None and not (hasattr(clock, "now") and hasattr(clock, "sleep_until")):
            raise errors.ConfigurationError(f"{clock!r} is no clock", "give it now() and async sleep_until(t)")
        check_name(tenant)
        home = Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else None
        settings = settings or Settings.load(home)
        policies = settings.policies if policies is None else policies
        shadow = settings.shadow if shadow is None and not read_only else shadow
        return cls(url, policies, clock or SystemClock(), settings, tenant, home, read_only, shadow)


async def open_services(options: Options, stack: AsyncExitStack) -> Services:
    """Open database, policies, context and gateway; `stack` closes them. Raises StorageError, ConfigurationError."""
    if await asyncio.to_thread(trace.configure, options.settings):
        stack.push_async_callback(asyncio.to_thread, trace.shutdown)
    db = await Database.open(options.url, read_only=options.read_only)
    stack.push_async_callback(db.close)
    clock, settings = options.clock, options.settings
    ledger, actors, tools = Ledger(db, clock), Actors(), Tools()
    if options.home is not None:
        ledger.proof = proof_of(options.home, settings)
        if not options.read_only:
            sealer = Sealer(db, ledger, clock=clock, settings=settings, proof=ledger.proof, tenant=options.tenant)
            stack.push_async_callback(sealer.close)
    policies = await asyncio.to_thread(Policies, options.policies, options.shadow)
    switches = await Switches.open(db, ledger, clock)
    inbox = Inbox(db, ledger, policies, actors, clock, options.tenant)
    inbox.off = switches.stopped
    await inbox.delegations.load()
    context = Context(db, ledger, clock, settings, options.home)
    stack.push_async_callback(context.close)
    models = Models(settings)
    stack.push_async_callback(models.close)
    credentials = await asyncio.to_thread(_credentials, settings, clock)
    stack.push_async_callback(credentials.close)
    gateway = Gateway(
        db=db,
        ledger=ledger,
        tools=tools,
        policies=policies,
        actors=actors,
        inbox=inbox,
        switches=switches,
        leases=Leases(ledger),
        limits=Limits(ledger),
        credentials=credentials,
        clock=clock,
        settings=settings,
    )
    saver = Checkpoints(db, serde=strict_serializer(cipher=_cipher(settings)))
    return Services(
        db, ledger, saver, tools, gateway, policies, actors, inbox, switches, context, clock, settings, models
    )


def proof_of(home: Path, settings: Settings) -> Proof:
    """Where keys, anchor and archives of a home are."""
    return Proof(home, settings.seal_key_file, settings.anchor_file, settings.archive_folder)


def _credentials(settings: Settings, clock: Clock) -> Credentials:
    """The broker, which also hides the keys among the settings. Raises ConfigurationError on a file it cannot use."""
    words, seconds = settings.credentials_command, settings.credentials_command_s
    keys = [key.get_secret_value() for key in (settings.api_key, settings.aes_key) if key is not None]
    return Credentials(
        settings.credentials_file,
        keyring=settings.credentials_keyring,
        command=Command(words, seconds, clock) if words else None,
        hidden=[*keys, os.environ.get("OPENAI_API_KEY", "")],
    )


def _cipher(settings: Settings) -> CipherProtocol | None:
    """AES for checkpoints, when a key is set. Raises ConfigurationError without the package that it needs."""
    if settings.aes_key is None:
        return None
    try:
        sealed = EncryptedSerializer.from_pycryptodome_aes(key=settings.aes_key.get_secret_value().encode())
    except (ImportError, ValueError) as exc:
        raise errors.ConfigurationError(
            f"checkpoints cannot be encrypted: {exc}", "install pycryptodome; aes_key has 16, 24 or 32 bytes"
        ) from exc
    return sealed.cipher
