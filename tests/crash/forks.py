"""Processes that need not load anything: forked from one that has, and that has no threads."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

# One server forks for all tests of a process; it finds modules that it has not loaded only where they are installed.
_LOADED = [
    "tests.crash.lives",
    "tests.crash.test_run_killed",
    "tests.crash.undoing",
    "interlock.cli.batch",
    "interlock.examples.enterprise.plant",
]


@contextmanager
def forkers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that have loaded what the tests need; what is submitted to them may use `forked`."""
    context = get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    with ProcessPoolExecutor(count, context) as processes:
        yield processes


def forked(work: Callable[[], object]) -> int:
    """Do the work in a process of its own, which ends with 0, or with 1 when it raised; gives its id."""
    process = os.fork()
    if process == 0:
        _work_and_leave(work)
    return process


def runs(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def end_of(process: int) -> int:
    """Wait for a process: its exit code, or the signal that ended it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _work_and_leave(work: Callable[[], object]) -> None:
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
