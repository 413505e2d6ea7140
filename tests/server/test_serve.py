"""`interlock serve` as a process: it answers on loopback, takes commands, and drains when it is stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

CLI = Path(__file__).parents[1] / "cli"
COMMAND = [sys.executable, "-c", "from interlock.cli.main import app; app()"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    shop = {"INTERLOCK_PROJECT": "shop:setup", "INTERLOCK_POLICIES": str(CLI / "shop.cedar")}
    return {**os.environ, **shop, "PYTHONPATH": str(CLI), "SHOP_ERP": str(tmp_path / "erp.txt")}


@pytest.fixture
def home(tmp_path: Path, environment: dict[str, str]) -> Path:
    order = '{"supplier": "acme", "total": 250000}'
    command = [*COMMAND, "run", "orders", "--input", order, "--home", str(tmp_path / "home")]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 3
    return tmp_path / "home"


@pytest.fixture
def server(home: Path, environment: dict[str, str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Its address, and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*COMMAND, "serve", "--home", str(home), "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.communicate()


def answer(url: str) -> Any:
    for _ in range(1200):
        try:
            return httpx.get(url, trust_env=False).json()
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def ended(url: str) -> Any:
    for _ in range(1200):
        case = answer(url)
        if case["ended_at"]:
            return case
        time.sleep(0.05)
    raise AssertionError("the case does not end")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_serves_decides_and_drains(
    server: tuple[str, subprocess.Popen[str]], home: Path, stop: signal.Signals, code: int
) -> None:
    url, process = server
    assert answer(f"{url}/ok") == {"ok": True}
    (item,) = answer(f"{url}/control/inbox")["items"]
    body = {"by": "person:bo", "decision": "approve"}
    assert httpx.post(f"{url}/control/inbox/{item['id']}/decide", json=body, trust_env=False).status_code == 200
    assert ended(f"{url}/control/cases/{item['case_id']}")["values"] == {"po": "PO-acme-250000"}
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (code, False), err
    assert not (home / "engine.json").exists()
