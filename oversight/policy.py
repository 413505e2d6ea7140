"""The policies of a plane: bound to its actions once, then asked before every call and every decision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from interlock import errors
from interlock.oversight.actions import ActionSpec, Request, Verdict
from interlock.oversight.actors import Person
from interlock.oversight.edition import OPERATOR, Binding, Edition
from interlock.oversight.shadow import SHADOWED, Differences, Tally
from interlock.oversight.simulate import REPLAYED, Replay, Simulation
from interlock.oversight.sources import Source, read_source
from interlock.oversight.statements import Problem

__all__ = ["OPERATOR", "ActionSpec", "Edition", "Policies", "Problem", "Request", "Verdict"]

_log = logging.getLogger(__name__)
# Rows that are replayed at a time, beside the event loop.
_BATCH = 500


class Policies:
    """The edition of the policies that decides now. Everything is denied until `bind` found it valid.

    Who asks more than one question about a call keeps the `edition`: another one may be taken at any time.
    `shadow` is the source of a candidate that is asked beside it, and decides nothing.
    Raises ConfigurationError when a source cannot be read.
    """

    def __init__(self, source: Source = None, shadow: Source = None) -> None:
        self._source = source
        self.shadow = Policies(shadow) if shadow is not None else None
        self._binding: Binding | None = None
        self._refused: list[Problem] = []
        self._turn = asyncio.Lock()
        # Records that an edition is about to decide, and at whose word; set by the plane.
        self.tell: Callable[[Edition, str], Awaitable[None]] | None = None
        # The events of the ledger, for `simulate`; set by the plane.
        self.past: Callable[..., AsyncIterator[Mapping[str, Any]]] | None = None
        self.edition = self._edition(*read_source(source))

    @property
    def files(self) -> dict[str, str]:
        return self.edition.files

    @property
    def version(self) -> str:
        return self.edition.version

    def _edition(self, files: Mapping[str, str], unread: Iterable[Problem]) -> Edition:
        return Edition(files, self._binding, shipped=self._source is None, unread=unread)

    def bind(self, actions: Iterable[ActionSpec], roles: Collection[str], authorities: Collection[str]) -> None:
        """Generate the schema, validate, and cut the set into slices. May be called again after registrations."""
        actions = tuple(actions)
        self._binding = Binding(actions, frozenset(roles), frozenset(authorities))
        self.edition = self._edition(self.edition.files, self.edition.unread)
        if self.shadow is not None:
            self.shadow.bind(actions, roles, authorities)

    @property
    def candidate(self) -> Edition | None:
        """The edition of the shadow, if there is one and it is valid for what is registered now."""
        edition = self.shadow.edition if self.shadow is not None else None
        return edition if edition is not None and not edition.problems else None

    async def reload(self, by: str = "") -> list[Problem]:
        """Take what the source holds now if it is valid as a whole, from the next decision on.

        Otherwise the edition that decides stays, and the problems are given here, logged, and kept for `check`.
        """
        async with self._turn:
            bound = self._binding
            try:
                found = await asyncio.to_thread(lambda: self._edition(*read_source(self._source)))
            except errors.ConfigurationError as exc:
                return self._refuse([Problem(str(self._source), 1, 1, exc.message, exc.hint)])
            if found.problems:
                return self._refuse(found.problems)
            if self.tell is not None and found.version != self.version:
                await self.tell(found, by)
            # Somebody may have registered meanwhile: what was found valid is bound to what there is now.
            self.edition = found if bound is self._binding else self._edition(found.files, found.unread)
            self._refused = []
            return []

    def _refuse(self, problems: list[Problem]) -> list[Problem]:
        self._refused = problems
        for problem in problems:
            _log.error("the policies were not taken, those of version %s stay: %s", self.version, problem)
        return problems

    def check(self) -> list[Problem]:
        """What is wrong with the set, or with the one that was not taken last; empty when it is valid and bound."""
        return list(self._refused or self.edition.problems)

    def hints(self) -> list[Problem]:
        """What is valid and still looks odd: roles that nobody is in, rules that change nothing."""
        return list(self.edition.hints)

    def complete_context(self, action: str, partial: Mapping[str, Any]) -> dict[str, Any]:
        """All attributes of an action's context: what `partial` lacks gets a neutral value."""
        return self.edition.complete_context(action, partial)

    def decide(self, request: Request) -> Verdict:
        """Allow or deny, with reasons. Never raises: what cannot be evaluated is denied."""
        return self.edition.decide(request)

    def need(self, request: Request) -> dict[str, int] | None:
        """The smallest approval counts (totals by authority) that permit the request; {} if it is permitted already."""
        return self.edition.need(request)

    def who(
        self, request: Request, authority: str, people: Iterable[Person], excluded: Iterable[str] = ()
    ) -> list[str]:
        """The ids of those who may approve the request under an authority; see `Edition.who`."""
        return self.edition.who(request, authority, people, excluded)

    def explain(self, request: Request, people: Iterable[Person] = (), excluded: Iterable[str] = ()) -> dict[str, Any]:
        """Everything about one request: decision, reasons, need, who may approve, who not, each policy's conditions."""
        return self.edition.explain(request, people, excluded)

    async def simulate(
        self, candidate: Source, since: datetime | str | None = None, *, workflow: str | None = None
    ) -> Simulation:
        """What a candidate set would have decided about the calls of the past; nothing acts on it.

        `candidate` is a source as `ControlPlane.open(policies=)` takes it, `since` a time, or ISO 8601 text. Raises
        PolicyError when the candidate is invalid, ConfigurationError when it cannot be read, InputError.
        """
        rows = self._rows(since, REPLAYED)
        edition = await asyncio.to_thread(self._candidate, candidate)
        replay, batch = Replay(edition, workflow), list[Mapping[str, Any]]()
        async for row in rows:
            batch.append(row)
            if len(batch) == _BATCH:
                await asyncio.to_thread(replay.take, batch)
                batch = []
        await asyncio.to_thread(replay.take, batch)
        return replay.report()

    async def shadowed(self, since: datetime | str | None = None, *, workflow: str | None = None) -> Differences:
        """Where the shadow would have decided otherwise than what decided: the recorded differences, added up.

        Raises InputError.
        """
        tally = Tally(workflow)
        async for row in self._rows(since, SHADOWED):
            tally.take(row)
        return tally.report()

    def _rows(self, since: datetime | str | None, types: Collection[str]) -> AsyncIterator[Mapping[str, Any]]:
        if self.past is None:
            raise errors.ConfigurationError("these policies have no ledger", "use the policies of a ControlPlane")
        return self.past(since=since, types=types)

    def _candidate(self, source: Source) -> Edition:
        """Another set on the same actions. Raises PolicyError that names the first problem, ConfigurationError."""
        files, unread = read_source(source)
        edition = Edition(files, self._binding, shipped=source is None, unread=unread)
        if edition.problems:
            more = f", and {len(edition.problems) - 1} more" if len(edition.problems) > 1 else ""
            raise errors.PolicyError(
                f"the candidate is invalid: {edition.problems[0]}{more}", "see `interlock policy check --policies`"
            )
        return edition
