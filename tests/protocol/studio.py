"""`langgraph dev` as a user starts it, in a folder and with a home of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
_SECONDS = 90


def folder(path: Path) -> Path:
    """A project folder with our langgraph.json, and a place for the home."""
    path.mkdir(exist_ok=True)
    shutil.copy(ROOT / "langgraph.json", path)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def langgraph_dev(path: Path) -> Iterator[str]:
    """Run the server until the block ends; gives its address. It keeps its threads in the folder."""
    port = free_port()
    program = str(Path(sys.executable).with_name("langgraph"))
    options = ["--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", str(port)]
    with (
        (path / "server.log").open("ab") as log,
        subprocess.Popen(
            [program, "dev", *options], cwd=path, env=_environment(path), stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            _wait_until_up(f"http://127.0.0.1:{port}", process, path)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def _environment(path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "COVERAGE_", "LANG", "INTERLOCK_"))}
    tools = str(Path(sys.executable).parent)
    return {
        **kept,
        "PATH": f"{tools}:{kept.get('PATH', '')}",
        "INTERLOCK_HOME": str(path / "home"),
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGSMITH_TRACING": "false",
    }


def _wait_until_up(url: str, process: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/ok", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"langgraph dev did not come up:\n{log_of(path)}")


def log_of(path: Path) -> str:
    """The end of what the server printed."""
    return (path / "server.log").read_text("utf-8", "replace")[-6000:]
