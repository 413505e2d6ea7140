"""Where errors become exit codes and sentences: no traceback reaches the user."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import typer
from typer.core import TyperGroup

from interlock import errors
from interlock.cli.output import say

__all__ = ["STOPPED", "Guarded", "exit_code"]

FAILED, USAGE, WAITS, DENIED, UNREACHABLE, INTERRUPTED, TERMINATED = 1, 2, 3, 4, 5, 130, 143
STOPPED = "stopped; nothing is lost: finished steps are kept, and the same command goes on from there"

_CODES: list[tuple[type[errors.InterlockError], int]] = [
    (errors.ApprovalNeeded, WAITS),
    (errors.Denied, DENIED),
    (errors.NotAuthorized, DENIED),
    (errors.Unreachable, UNREACHABLE),
    (errors.PolicyError, FAILED),
    (errors.NotFound, FAILED),
    (errors.Conflict, FAILED),
    (errors.InputError, USAGE),
]


def exit_code(error: BaseException) -> int:
    """1 failed, 2 usage, 3 waits for a person, 4 denied, 5 unreachable; the first kind that fits decides."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


class Guarded(TyperGroup):
    """The root command: every error of every command passes here."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say(STOPPED)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except Exception as exc:
            if hasattr(exc, "exit_code"):  # typer's own: usage errors and exits
                raise
            raise typer.Exit(_tell(exc)) from None


def _inner(error: Exception) -> Exception:
    """The one error of a group, so that a task group does not hide what happened."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _tell(whole: Exception) -> int:
    error = _inner(whole)
    if isinstance(error, errors.InterlockError):
        say(_clean(f"error: {error.message}"))
        for reason in getattr(error, "reasons", []):
            say(_clean(f"  {reason.policy}: {reason.text}"))
        if error.hint:
            say(_clean(f"hint: {error.hint}"))
        return exit_code(error)
    say(_clean(f"error: {type(error).__name__}: {error}") if str(error) else f"error: {type(error).__name__}")
    say(f"hint: this is a defect of interlock or of the project; details are in {_log(whole)}")
    return FAILED


def _clean(text: str) -> str:
    """Without the credentials of the environment: whatever failed may quote one."""
    from interlock.tools.credentials import Credentials

    return str(Credentials(hidden=[os.environ.get("OPENAI_API_KEY", "")]).redact(text))


def _log(error: Exception) -> Path | str:
    """Write the traceback to a new file, readable by this user only, and return its path."""
    try:
        handle, name = mkstemp(prefix="interlock-error-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(_clean("".join(traceback.format_exception(error))))
    except OSError as exc:
        return f"no log: {exc}"
    return Path(name)
