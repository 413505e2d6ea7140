"""How errors are said over HTTP: `{code, message, hint}` with the right status."""

from __future__ import annotations

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from interlock import errors

__all__ = ["on_error", "on_invalid", "status_of"]

_STATUS: list[tuple[type[errors.InterlockError], int]] = [
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.PolicyError, 500),
    (errors.ConfigurationError, 500),
    (errors.InputError, 422),
    (errors.AlreadyDecided, 409),
    (errors.Expired, 410),
    (errors.GovernanceError, 403),
    (errors.DatabaseLocked, 503),
    (errors.StorageError, 503),
    (errors.Unreachable, 502),
]


def status_of(error: errors.InterlockError) -> int:
    """The first kind that fits decides."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


async def on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.InterlockError), "registered for these only"
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    return JSONResponse(body, status_of(error))


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """A request that does not fit its schema: what is wrong where; never what was sent."""
    assert isinstance(error, RequestValidationError), "registered for these only"
    wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return JSONResponse({"code": "input", "message": wrong, "hint": "see /control/openapi.json"}, 422)
