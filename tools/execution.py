"""Runs a tool that was let through: rate, circuit breaker, time-out, retries, and what its failure means."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from interlock import errors
from interlock.clock import Clock
from interlock.observability import trace
from interlock.observability.ledger import Ledger
from interlock.settings import Settings
from interlock.storage.chain import Event
from interlock.tools.adapters import in_thread
from interlock.tools.attempt import Attempt
from interlock.tools.breaker import Breakers, Rates
from interlock.tools.contract import DidNotHappen, Happened, ToolContext, Unsure
from interlock.tools.credentials import Credentials
from interlock.tools.effects import Outcome
from interlock.tools.failures import ambiguous, describe, transient
from interlock.tools.results import recordable

__all__ = ["Execution"]

_LONGEST_PAUSE_S = 2.0


class Execution:
    """One per plane. Results and errors come back as plain JSON values, without known secrets.

    `stopped` says which switch forbids a call, or nothing.
    """

    def __init__(
        self,
        ledger: Ledger,
        credentials: Credentials,
        settings: Settings,
        clock: Clock,
        stopped: Callable[[Attempt], str],
    ) -> None:
        self._breakers = Breakers(ledger, settings.breaker_failures, settings.breaker_seconds, clock)
        self._rates = Rates()
        self._credentials = credentials
        self._settings = settings
        self._clock = clock
        self._stopped = stopped

    def context(self, attempt: Attempt, credential: str | None = None) -> ToolContext:
        """What code that belongs to a tool gets as `ctx`: a credential only while the tool is run."""
        site = attempt.site
        return ToolContext(
            case_id=site.case_id,
            effect_key=attempt.effect_key,
            attempt=attempt.number,
            credential=credential,
            actor=site.actor,
            tenant=site.tenant,
            clock=self._clock,
            key=attempt.outside_key,
            task=site.task,
            token=attempt.token,
            compensates=attempt.undone_key,
        )

    async def run(self, attempt: Attempt) -> Outcome:
        """Execute, and say what came of it. Never raises, but for cancellation."""
        began = self._clock.now()
        try:
            value, error, failure = await self._tried(attempt), None, None
        except Exception as exc:
            value, error, failure = None, self._plain(describe(exc)), exc
        seconds = (self._clock.now() - began).total_seconds()
        if failure is None:
            return Outcome("done", value, None, "executed", seconds)
        unsure = attempt.spec.writes and (attempt.doubtful or ambiguous(failure))
        return Outcome("unknown" if unsure else "failed", None, error, "executed", seconds)

    async def reconcile(self, attempt: Attempt) -> Outcome | None:
        """What the tool's probe says: an outcome, or None when the effect did not take place and may be run.

        An outcome of `unknown` when there is no probe, or it cannot tell.
        """
        if attempt.spec.reconcile is None:
            return Outcome("unknown", error="the outcome was lost, and the tool has no probe", by="reconciled")
        try:
            answer = await self._ask(attempt)
        except Exception as exc:
            why = self._plain(describe(exc))
            return Outcome("unknown", error=f"the probe failed: {why}", by="reconciled")
        if isinstance(answer, DidNotHappen):
            return None
        if isinstance(answer, Happened):
            return Outcome("done", self._plain(answer.result), by="reconciled")
        return Outcome("unknown", error="the probe cannot tell whether it happened", by="reconciled")

    def news(self) -> list[Event]:
        """Ledger events of breakers that opened or closed since the last call."""
        return self._breakers.news()

    def redact(self, value: Any) -> Any:
        return self._credentials.redact(value)

    async def _ask(self, attempt: Attempt) -> Happened | DidNotHappen | Unsure:
        probe, seconds = attempt.spec.reconcile, self._seconds(attempt)
        assert probe is not None, "asked only where there is a probe"
        args = (attempt.given(), await self._armed(attempt))
        is_async = inspect.iscoroutinefunction(probe)
        async with asyncio.timeout(seconds):
            answer = await (probe(*args) if is_async else in_thread(probe, *args))
            return await answer if inspect.isawaitable(answer) else answer  # type: ignore[no-any-return]

    async def _tried(self, attempt: Attempt) -> Any:
        """Reads and idempotent tools are tried again when the failure may pass; nothing else is."""
        tries = 1 + self._settings.tool_retries if attempt.idempotent or not attempt.spec.writes else 1

        def doubt(state: RetryCallState) -> None:
            failure = state.outcome.exception() if state.outcome is not None else None
            attempt.doubtful |= failure is not None and ambiguous(failure)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(tries),
            wait=wait_random_exponential(multiplier=0.05, max=_LONGEST_PAUSE_S),
            retry=retry_if_exception(transient),
            before_sleep=doubt,
            reraise=True,
        )
        return await retrying(self._once, attempt)

    async def _once(self, attempt: Attempt) -> Any:
        spec, site = attempt.spec, attempt.site
        ctx = await self._armed(attempt)  # first: without a credential nothing is tried, so nothing can have happened
        await self._rates.turn(spec.name, spec.rate)
        self._enter(attempt)
        about = {"case_id": site.case_id, "task": site.task, "actor": site.actor, "effect_key": attempt.effect_key}
        with trace.execute_tool(spec.name, system=spec.system, **about):
            async with self._breakers.guard(spec.system or spec.name, site.tenant):
                async with asyncio.timeout(self._seconds(attempt)):
                    return self._plain(await self._called(attempt, ctx))

    def _enter(self, attempt: Attempt) -> None:
        """The last look at the switches, with no wait behind it: nothing begins once `off` is confirmed."""
        if off := self._stopped(attempt):
            kind = errors.UnknownOutcome if attempt.begun or not attempt.untried else errors.Denied
            raise kind(f"not begun: {off}")
        attempt.begun = True

    async def _armed(self, attempt: Attempt) -> ToolContext:
        """The context with the credential for this one execution."""
        system = attempt.spec.system
        secret = await self._credentials.fetch(system, attempt.name, attempt.site.case_id) if system else None
        return self.context(attempt, secret)

    async def _called(self, attempt: Attempt, ctx: ToolContext) -> Any:
        try:
            return await attempt.spec.call(attempt.given(), ctx)
        except (asyncio.CancelledError, SystemExit) as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Of its own making: it would end the drive, or the process.
            raise errors.UnknownOutcome(f"the tool ended with {type(exc).__name__}") from exc

    def _seconds(self, attempt: Attempt) -> float:
        return attempt.spec.timeout or self._settings.tool_timeout_s

    def _plain(self, value: Any) -> Any:
        return self._credentials.redact(recordable(value))
