"""What an exception of a tool means: did the system fail, may it have happened, is another try worth it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from purgatory.domain.model import OpenedState

from interlock import errors

__all__ = ["ambiguous", "describe", "outage", "transient"]

# The request never left, so nothing can have happened.
_NEVER_SENT = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL,
    ConnectionRefusedError, OpenedState, errors.Unreachable,
)  # fmt: skip
_NO_ANSWER = (TimeoutError, ConnectionError, httpx.TransportError, errors.UnknownOutcome)


def ambiguous(exc: BaseException) -> bool:
    """Whether a write that ended so may nevertheless have taken place."""
    for one in _chain(exc):
        if isinstance(one, _NEVER_SENT):
            return False
        if isinstance(one, _NO_ANSWER) or _status(one) in (502, 504):
            return True
    return False


def outage(exc: BaseException) -> bool:
    """Whether the system behind the tool failed, rather than refused: this counts for its circuit breaker."""
    known = (*_NO_ANSWER, *_NEVER_SENT)
    return any(isinstance(one, known) or _status(one) >= 500 for one in _chain(exc))


def transient(exc: BaseException) -> bool:
    """Whether the same call may succeed in a moment. An open breaker stays open for longer than that."""
    if any(isinstance(one, OpenedState) for one in _chain(exc)):
        return False
    return outage(exc) or any(_status(one) == 429 for one in _chain(exc))


def describe(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError) and not str(exc):
        return "the tool timed out"
    return f"{type(exc).__name__}: {exc}"


def _chain(exc: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = exc
    for _ in range(8):
        if one is None:
            return
        yield one
        one = one.__cause__


def _status(exc: BaseException) -> int:
    return exc.response.status_code if isinstance(exc, httpx.HTTPStatusError) else 0
