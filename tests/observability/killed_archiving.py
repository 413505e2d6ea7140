"""A process that archives a home and kills itself at a numbered point: around each file and each commit."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from interlock.observability import archiving
from interlock.observability.archives import Draft
from interlock.storage.committer import Committer
from interlock.storage.database import Database
from interlock.storage.transaction import SqliteTransaction
from tests.observability.sealed import START, sealer_of


def around(work: Callable[..., Any], points: itertools.count[int], at: int) -> Callable[..., Any]:
    """The same work, with a point before it and one after it."""

    def point() -> None:
        if next(points) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def done(*given: Any) -> Any:
        point()
        found = work(*given)
        point()
        return found

    return done


async def main(home: Path, at: int) -> None:
    db = await Database.open(f"sqlite:///{home}/interlock.db")
    ledger, sealer = sealer_of(db, home)
    points = itertools.count(1)
    with (
        patch.object(archiving, "_EACH", 90),
        patch.object(Draft, "keep", around(Draft.keep, points, at)),
        patch.object(SqliteTransaction, "save_head", around(SqliteTransaction.save_head, points, at)),
        patch.object(Committer, "_run_batch", around(Committer._run_batch, points, at)),
    ):
        await archiving.archive(db, ledger, START + timedelta(days=1), tenant="default", by="person:ana")
    await sealer.close()
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
