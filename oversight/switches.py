"""Switches: what people have turned off, or drain, and why. Read from memory before every call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from interlock import errors
from interlock.clock import Clock, iso
from interlock.ids import check_actor, check_name, check_tool
from interlock.oversight import holds
from interlock.oversight.holds import Hold

if TYPE_CHECKING:
    from interlock.observability.ledger import Event, Ledger
    from interlock.storage.database import Database, Reader, Transaction

__all__ = ["History", "Setting", "State", "Switch", "Switches"]

State = Literal["on", "drain", "off"]
# From the mildest to the strictest.
_STATES: tuple[State, ...] = get_args(State)
_ALL = "all"
_NAMED: dict[str, Callable[[str], str]] = {
    "tool": check_tool,
    "system": check_name,
    "workflow": check_name,
    "tenant": check_name,
}
_LOAD = "SELECT tenant, target, state, by, comment, at FROM switches ORDER BY tenant, target"
_OFF = "SELECT 1 FROM switches WHERE state = 'off' AND target = ?"
_SAVE = (
    "INSERT INTO switches (tenant, target, state, by, comment, at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (tenant, target) DO UPDATE SET state = excluded.state, by = excluded.by,"
    " comment = excluded.comment, at = excluded.at"
)


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch as it stands. `at` is text (`clock.iso`), `by` the actor who set it."""

    tenant: str
    target: str
    state: State
    by: str
    comment: str
    at: str

    def __str__(self) -> str:
        why = f": {self.comment}" if self.comment else ""
        return f"{self.target} is set to {self.state} by {self.by}{why}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a switch: from what to what, by whom, why and when."""

    tenant: str
    target: str
    before: State
    state: State
    by: str
    comment: str
    at: str


# Inside `Switches`, `list` is a method.
History = list[Setting]
Cases = list[str]


class Switches:
    """The switches of every tenant. One counts for its own tenant; `all` and `tenant:<t>` count whoever set them."""

    def __init__(self, db: Database, ledger: Ledger, clock: Clock, switches: Iterable[Switch] = ()) -> None:
        self._db = db
        self._ledger = ledger
        self._clock = clock
        self._lock = asyncio.Lock()
        self._own: dict[tuple[str, str], Switch] = {}
        self._wide: dict[str, dict[str, Switch]] = {}
        for switch in switches:
            self._note(switch)

    @classmethod
    async def open(cls, db: Database, ledger: Ledger, clock: Clock) -> Switches:
        """The switches as the database has them."""
        return cls(db, ledger, clock, await db.read(_load))

    def state(self, tenant: str, targets: Iterable[str]) -> State:
        """The strictest state among some targets, the tenant, and `all`. No I/O."""
        strictest = self._strictest(tenant, targets)
        return "on" if strictest is None else strictest.state

    def off(self, tenant: str, targets: Iterable[str]) -> Switch | None:
        """The switch that turns one of the targets off; None when none does. No I/O."""
        strictest = self._strictest(tenant, targets)
        return strictest if strictest is not None and strictest.state == "off" else None

    def why(self, tenant: str, targets: Iterable[str]) -> str:
        """Which switch is the reason for `state`, who set it and with what comment; empty when all is on."""
        strictest = self._strictest(tenant, targets)
        return "" if strictest is None or strictest.state == "on" else str(strictest)

    def stopped(self, tenant: str, actor: str) -> str:
        """The switch of one actor alone when it is off, who set it and why; empty when it is not. No I/O.

        People go on deciding while all tools are off; one who is switched off does not.
        """
        switch = self._own.get((tenant, actor))
        return str(switch) if switch is not None and switch.state == "off" else ""

    def list(self, tenant: str) -> list[Switch]:
        """Every switch that was ever set and counts for a tenant, by target."""
        own = [switch for (owner, _), switch in self._own.items() if owner == tenant]
        return sorted([*own, *self._wide_of(tenant)], key=lambda switch: (switch.target, switch.tenant))

    async def history(self, tenant: str, target: str | None = None) -> History:
        """Every setting of a switch, or of all that count for a tenant, from the ledger; the oldest first.

        Raises InputError on a target that is none.
        """
        wanted = None if target is None else _target(target)
        before: dict[tuple[str, str], State] = {}
        found: History = []
        async for event in self._ledger.export(types=("switch.set",)):
            data, owner = event["data"], event["tenant"]
            if data is None or wanted not in (None, data["target"]) or not _counts(data["target"], owner, tenant):
                continue
            key = owner, data["target"]
            found.append(
                Setting(*key, before.get(key, "on"), data["state"], event["actor"], data["comment"], event["at"])
            )
            before[key] = data["state"]
        return found

    async def set(self, tenant: str, target: str, state: str, *, by: str, comment: str = "") -> Cases:
        """Set a switch; it is durable and in effect when this returns, also when the caller is cancelled meanwhile.

        Gives the cases that have rested because of it, and are queued now.
        Raises InputError on a target, state or actor id that is none, NotAuthorized when it is no person's.
        """
        if not check_actor(by).startswith("person:"):
            raise errors.NotAuthorized(f"{by} may set no switch", "a person has to: an agent could turn itself on")
        switch = Switch(tenant, _target(target), _state(state), by, comment, iso(self._clock.now()))
        return await asyncio.shield(self._set(switch))

    @staticmethod
    def hold(tx: Transaction, hold: Hold, at: str) -> None:
        """Let a call wait until a switch is set anew; that may have happened by the time of this commit."""
        holds.place(tx, hold, at)
        wide = _is_wide(hold.target)
        off = tx.row(_OFF if wide else f"{_OFF} AND tenant = ?", (hold.target,) if wide else (hold.target, hold.tenant))
        if off is None:
            holds.end(tx, [{"tenant": hold.tenant, "id": hold.id, "case_id": hold.case_id}], at)

    async def _set(self, switch: Switch) -> Cases:
        """One at a time, so that memory and database agree on which was the last."""
        data = {"target": switch.target, "state": switch.state, "comment": switch.comment}
        event = self._ledger.event("switch.set", tenant=switch.tenant, actor=switch.by, data=data, at=switch.at)
        async with self._lock:
            queued = await self._db.commit(lambda tx: _save(tx, switch, event))
            self._note(switch)
            return queued

    def _note(self, switch: Switch) -> None:
        if _is_wide(switch.target):
            self._wide.setdefault(switch.target, {})[switch.tenant] = switch
        else:
            self._own[switch.tenant, switch.target] = switch

    def _strictest(self, tenant: str, targets: Iterable[str]) -> Switch | None:
        own = (self._own.get((tenant, target)) for target in targets)
        found = [*(switch for switch in own if switch is not None), *self._wide_of(tenant)]
        return max(found, key=lambda switch: _STATES.index(switch.state), default=None)

    def _wide_of(self, tenant: str) -> Iterator[Switch]:
        for target in (_ALL, f"tenant:{tenant}"):
            yield from self._wide.get(target, {}).values()


def _load(reader: Reader) -> list[Switch]:
    return [Switch(**dict(row)) for row in reader.rows(_LOAD)]


def _save(tx: Transaction, switch: Switch, event: Event) -> Cases:
    row = (switch.tenant, switch.target, switch.state, switch.by, switch.comment, switch.at)
    tx.execute(_SAVE, row)
    tx.append(event)
    if switch.state == "off":
        return []
    tenant = None if _is_wide(switch.target) else switch.tenant
    return holds.end_all(tx, "switch", switch.target, switch.at, tenant)


def _is_wide(target: str) -> bool:
    return target == _ALL or target.startswith("tenant:")


def _counts(target: str, owner: str, tenant: str) -> bool:
    return owner == tenant or target in (_ALL, f"tenant:{tenant}")


def _target(target: str) -> str:
    """The target itself. Raises InputError when it is none."""
    kind, _, name = target.partition(":") if isinstance(target, str) else ("", "", "")
    if target == _ALL:
        return target
    if kind in ("agent", "person"):
        return check_actor(target)
    if kind not in _NAMED:
        kinds = ", ".join(f"{one}:<name>" for one in ("agent", "person", *_NAMED))
        raise errors.InputError(f"{target!r} is nothing that can be switched", f"name one of {kinds}, or all")
    _NAMED[kind](name)
    return target


def _state(state: str) -> State:
    if state not in _STATES:
        raise errors.InputError(f"{state!r} is no state of a switch", f"say one of {', '.join(_STATES)}")
    return state
