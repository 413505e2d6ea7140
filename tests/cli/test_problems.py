"""No traceback, no prompt, the right exit code; and a command line that starts fast."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from interlock import Decision, errors
from interlock.cli.main import app
from interlock.cli.output import cell, emit, page, pairs, plain
from interlock.cli.problems import exit_code


def commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = getattr(group, "commands", {})
    return [path, *(found for name, one in below.items() for found in commands(one, (*path, name)))]


@pytest.mark.parametrize("command", commands(get_command(app)), ids=" ".join)
def test_every_command_has_help(cli: Any, command: tuple[str, ...]) -> None:
    shown = cli(*command, "--help").out
    assert "Usage:" in shown
    below = get_command(app)
    for name in command:
        below = below.commands[name]  # type: ignore[attr-defined]  # a group
    if command and not getattr(below, "commands", {}):
        assert "--home" in shown


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from interlock.cli.main import app; "
        "print([m for m in ('langgraph','langchain_core','chromadb','pydantic','fastapi','sqlalchemy','rich.table',"
        "'interlock.plane') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [(), ("nope",), ("cases", "nope"), ("run",), ("run", "x", "--nope"), ("audit",)])
def test_wrong_usage_ends_with_two(cli: Any, arguments: tuple[str, ...]) -> None:
    cli(*arguments, code=2)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("x"), 2),
        (errors.ConfigurationError("x"), 2),
        (errors.PolicyError("x"), 1),
        (errors.NotFound("x"), 1),
        (errors.Conflict("x"), 1),
        (errors.Denied("x"), 4),
        (errors.NotAuthorized("x"), 4),
        (errors.ApprovalNeeded("x"), 3),
        (errors.Unreachable("x"), 5),
        (errors.ToolFailed("x"), 1),
        (errors.DatabaseLocked("x"), 1),
        (ValueError("x"), 1),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert exit_code(error) == code


RAISING = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def setup(plane, reference=None):
    raise ExceptionGroup("several", [RuntimeError("the pump is off")])
    yield
"""


def test_a_defect_is_said_in_one_line_and_written_to_a_file_of_the_user(
    shop: Path, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising.py").write_text(RAISING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INTERLOCK_PROJECT", "raising:setup")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = cli("actors", "--home", shop, code=1).err
    assert "error: RuntimeError: the pump is off" in said
    (log,) = tmp_path.glob("interlock-error-*.log")
    assert str(log) in said and "Traceback" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_reader_that_goes_away_is_no_traceback(waiting: Path) -> None:
    program = "from interlock.cli.main import app; app()"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", program, "audit", "export", "--home", str(waiting)],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode != 0 and "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr


def test_a_terminal_without_unicode_shows_something(waiting: Path, process: Any) -> None:
    shown = process(
        "inbox", "--home", waiting, env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}, code=None
    )
    assert shown.code == 0, shown
    assert "approval" in shown.out


def test_the_version(cli: Any) -> None:
    assert cli("--version").out.startswith("interlock 0.")


# what is printed


def test_json_of_what_the_plane_returns() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    value = {1: at, "d": timedelta(minutes=2), "p": Path("a"), "s": {"b", "a"}, "x": Decision.reject("no"), "n": None}
    assert plain(value) == {
        "1": "2026-01-02T00:00:00.000000Z", "d": 120.0, "p": "a", "s": ["a", "b"], "n": None,
        "x": {"kind": "reject", "why": "no", "args": None, "value": None, "digest": "", "acting_for": ""},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (True, "yes"), (False, "no"), (1234.5, "1,234.50"), (7, "7"), (["a", None], "a, -"),
        ("two\nlines\tand  more", "two lines and more"), ({"a": "ü"}, '{"a":"ü"}'), ((), ""),
    ],
)  # fmt: skip
def test_a_cell_is_one_line(value: object, text: str) -> None:
    assert cell(value) == text


def test_data_goes_to_stdout_and_talk_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": "ü"})
    page([{"id": 1}], "7", False, ("id",), [(1,)])
    pairs({"name": "[bold]x[/bold]"})
    out, err = capsys.readouterr()
    assert json.loads(out[: out.index("}") + 1]) == {"a": "ü"}
    assert "[bold]x[/bold]" in out and "more with --cursor 7" in err and "--cursor" not in out


def test_markup_in_data_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    page([1], None, False, ("x",), [("[red]not red[/red] \x1b[31m",)])
    shown = capsys.readouterr().out
    assert "[red]not red[/red]" in shown and "\x1b" not in shown
