"""What an exception of a tool means for the effect, for the breaker and for a retry."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from interlock import errors
from interlock.tools.failures import SystemOpen, ambiguous, describe, outage, transient


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://erp/orders")
    return httpx.HTTPStatusError(str(code), request=request, response=httpx.Response(code, request=request))


# exception, may it have happened, is the system out, is another try worth it
TABLE = [
    (httpx.ConnectError("x"), False, True, True),
    (httpx.ConnectTimeout("x"), False, True, True),
    (httpx.PoolTimeout("x"), False, True, True),
    (ConnectionRefusedError("x"), False, True, True),
    (errors.Unreachable("x"), False, True, True),
    (SystemOpen("x"), False, True, False),
    (httpx.UnsupportedProtocol("x"), False, False, False),
    (httpx.LocalProtocolError("x"), False, False, False),
    (httpx.InvalidURL("x"), False, False, False),
    (httpx.ReadTimeout("x"), True, True, True),
    (httpx.WriteTimeout("x"), True, True, True),
    (httpx.ReadError("x"), True, True, True),
    (httpx.WriteError("x"), True, True, True),
    (httpx.CloseError("x"), True, True, True),
    (httpx.RemoteProtocolError("x"), True, True, True),
    (httpx.DecodingError("x"), True, True, True),
    (httpx.TooManyRedirects("x"), True, True, True),
    (TimeoutError(), True, True, True),
    (ConnectionResetError("x"), True, True, True),
    (BrokenPipeError("x"), True, True, True),
    (errors.UnknownOutcome("x"), True, True, True),
    (status(500), True, True, True),
    (status(502), True, True, True),
    (status(503), False, True, True),
    (status(504), True, True, True),
    (status(429), False, False, True),
    (status(400), False, False, False),
    (status(401), False, False, False),
    (status(404), False, False, False),
    (status(409), False, False, False),
    (status(302), False, False, False),
    (errors.ToolFailed("x"), False, False, False),
    (ValueError("x"), False, False, False),
    (KeyError("x"), False, False, False),
]


@pytest.mark.parametrize(("exc", "unsure", "out", "again"), TABLE, ids=lambda value: repr(value)[:40])
def test_meaning(exc: Exception, unsure: bool, out: bool, again: bool) -> None:
    assert (ambiguous(exc), outage(exc), transient(exc)) == (unsure, out, again)


def raised(how: Callable[[], None]) -> Exception:
    try:
        how()
    except Exception as exc:
        return exc
    raise AssertionError("nothing was raised")


def test_the_cause_is_seen_through_a_wrapper_with_and_without_from() -> None:
    def explicit() -> None:
        try:
            raise httpx.ReadTimeout("slow")
        except httpx.ReadTimeout as exc:
            raise errors.ToolFailed("no answer") from exc

    def implicit() -> None:
        try:
            raise httpx.ReadTimeout("slow")
        except httpx.ReadTimeout:
            raise RuntimeError("no answer")  # noqa: B904  # as people write it

    def hidden() -> None:
        try:
            raise httpx.ReadTimeout("slow")
        except httpx.ReadTimeout:
            raise errors.ToolFailed("the system says it did nothing") from None

    assert ambiguous(raised(explicit))
    assert ambiguous(raised(implicit))
    assert outage(raised(implicit))
    assert not ambiguous(raised(hidden))


def test_the_nearest_answer_decides() -> None:
    def refused_after_a_timeout() -> None:
        try:
            raise httpx.ReadTimeout("slow")
        except httpx.ReadTimeout:
            raise status(400)  # noqa: B904

    assert not ambiguous(raised(refused_after_a_timeout))
    assert not outage(raised(refused_after_a_timeout))


def test_a_group_is_as_unsure_as_its_worst() -> None:
    group = ExceptionGroup("both", [ValueError("x"), ExceptionGroup("inner", [httpx.ReadTimeout("slow")])])
    assert ambiguous(group)
    assert outage(group)
    assert transient(group)
    assert not ambiguous(ExceptionGroup("none", [ValueError("x"), httpx.ConnectError("away")]))


def test_a_chain_that_turns_in_a_circle_ends() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert not ambiguous(one)


def test_descriptions_name_the_kind() -> None:
    assert describe(TimeoutError()) == "the tool timed out"
    assert describe(ValueError("bad")) == "ValueError: bad"
