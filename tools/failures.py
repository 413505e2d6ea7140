"""What an exception of a tool means: did the system fail, may it have happened, is another try worth it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from interlock import errors

__all__ = ["SystemOpen", "ambiguous", "describe", "outage", "transient"]


class SystemOpen(errors.Unreachable):
    """The circuit breaker of a system is open: the call was not made."""


# The request never left, so nothing can have happened: the system is away, or the request is no request.
_AWAY = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, ConnectionRefusedError, errors.Unreachable)
_UNSENDABLE = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL)
# It arrived, and nobody knows how far it got; 503 and 501 say that it was not taken.
_BROKE_OFF = (500, 502, 504)
_NO_ANSWER = (TimeoutError, ConnectionError, httpx.RequestError, errors.UnknownOutcome)


def ambiguous(exc: BaseException) -> bool:
    """Whether a write that ended so may nevertheless have taken place."""
    if isinstance(exc, BaseExceptionGroup):
        return any(ambiguous(one) for one in exc.exceptions)
    for one in _chain(exc):
        if isinstance(one, (*_AWAY, *_UNSENDABLE)):
            return False
        if isinstance(one, httpx.HTTPStatusError):
            return one.response.status_code in _BROKE_OFF
        if isinstance(one, _NO_ANSWER):
            return True
    return False


def outage(exc: BaseException) -> bool:
    """Whether the system behind the tool failed, rather than refused: this counts for its circuit breaker."""
    if isinstance(exc, BaseExceptionGroup):
        return any(outage(one) for one in exc.exceptions)
    for one in _chain(exc):
        if isinstance(one, httpx.HTTPStatusError):
            return one.response.status_code >= 500
        if isinstance(one, (*_AWAY, *_NO_ANSWER)):
            return not isinstance(one, _UNSENDABLE)
    return False


def transient(exc: BaseException) -> bool:
    """Whether the same call may succeed in a moment. An open breaker stays open for longer than that."""
    if any(isinstance(one, SystemOpen) for one in _chain(exc)):
        return False
    return outage(exc) or any(_status(one) == 429 for one in _chain(exc))


def describe(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError) and not str(exc):
        return "the tool timed out"
    try:
        return f"{type(exc).__name__}: {exc}"
    except Exception:  # its text is made by the tool's own code
        return type(exc).__name__


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The exception and those it came from, also where it was raised in an `except` without `from`."""
    one: BaseException | None = exc
    for _ in range(8):
        if one is None:
            return
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _status(exc: BaseException) -> int:
    return exc.response.status_code if isinstance(exc, httpx.HTTPStatusError) else 0
