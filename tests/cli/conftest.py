"""Commands in this process and in processes of their own, on the project of `shop.py`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from interlock.cli.main import app

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-c", "from interlock.cli.main import app; app()"]


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Answer]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a shop; its policies are in a file, its ERP is a file."""
    _environment(tmp_path, monkeypatch)
    return tmp_path / "home"


def _environment(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("INTERLOCK_PROJECT", "shop:setup")
    patch.setenv("INTERLOCK_POLICIES", str(HERE / "shop.cedar"))
    patch.setenv("SHOP_ERP", str(folder / "erp.txt"))
    patch.setenv("PYTHONPATH", str(HERE))
    patch.setenv("NO_COLOR", "1")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, importable: None) -> Path:
    """A home in which an approval, an exception and a person's task wait, and one order is placed."""
    folder = tmp_path_factory.mktemp("template")
    rows = ["supplier,total,note", "acme,100,", "acme,250000,dear", "unknown,300000,", "acme,400000,by hand", ""]
    (folder / "orders.csv").write_text("\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        _environment(folder, patch)
        done = CliRunner().invoke(
            app, ["run", "orders", "--input", str(folder / "orders.csv"), "--home", str(folder / "home")]
        )
    assert done.exit_code == 0, done.output
    return folder / "home"


@pytest.fixture
def waiting(template: Path, shop: Path) -> Path:
    """A copy of that home."""
    shutil.copytree(template, shop)
    return shop


@pytest.fixture(autouse=True, scope="session")
def importable() -> Iterator[None]:
    """`shop` is a module that the setting `project` can name."""
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))


@pytest.fixture
def cli() -> Run:
    """Run a command in this process."""

    def run(*arguments: object, code: int | None = 0, stdin: str = "") -> Answer:
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        answer = Answer(result.exit_code, result.stdout, result.stderr)
        assert "Traceback" not in answer.out + answer.err
        assert code is None or answer.code == code, answer
        return answer

    return run


@pytest.fixture
def process() -> Run:
    """Run a command in a process of its own."""

    def run(*arguments: object, code: int | None = 0, **options: Any) -> Answer:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60, **options
        )
        answer = Answer(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in answer.out + answer.err
        assert code is None or answer.code == code, answer
        return answer

    return run


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command and let it run; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        one = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        running.append(one)
        return one

    yield start
    for one in running:
        if one.poll() is None:
            one.kill()
        one.communicate()


@pytest.fixture
def orders(tmp_path: Path) -> Callable[[Sequence[tuple[str, int, str]]], Path]:
    """A CSV file of orders: supplier, total in cents, note."""

    def write(rows: Sequence[tuple[str, int, str]]) -> Path:
        path = tmp_path / "orders.csv"
        lines = [f'"{supplier}",{total},"{note}"' for supplier, total, note in rows]
        path.write_text("\n".join(["supplier,total,note", *lines, ""]), encoding="utf-8")
        return path

    return write


@pytest.fixture
def erp(tmp_path: Path) -> Callable[[], list[str]]:
    """What the ERP has been sent, one line per order."""

    def read() -> list[str]:
        path = tmp_path / "erp.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    return read
