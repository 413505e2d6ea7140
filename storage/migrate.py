"""Bring a database to the newest schema. Running it again, or from two processes at once, does no harm."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from interlock import errors
from interlock.storage.migrations import HEAD

__all__ = ["at_head", "upgrade"]

_ALEMBIC = threading.Lock()  # Alembic keeps its environment in module globals


def upgrade(connect: Callable[[], sqlite3.Connection]) -> None:
    """Apply what is missing, in one transaction. Raises StorageError when the database is newer than the code."""
    connection = connect()
    try:
        if not at_head(connection):
            _run(connection)
    finally:
        connection.close()


def at_head(connection: sqlite3.Connection) -> bool:
    """Whether nothing is to do; an empty database, or another program's, is not at the head."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return False
    found = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    return found == [HEAD]


def _run(connection: sqlite3.Connection) -> None:
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(engine, "begin", _begin)
    try:
        with _ALEMBIC, engine.begin() as bound:
            command.upgrade(_config(bound), "head")
    except DBAPIError as exc:
        raise exc.orig if isinstance(exc.orig, sqlite3.Error) else exc from exc
    except CommandError as exc:
        raise errors.StorageError(
            f"the database has a schema this version does not know: {exc}", "upgrade interlock, or open another home"
        ) from exc


def _begin(bound: Connection) -> None:
    bound.exec_driver_sql("BEGIN IMMEDIATE")


def _config(bound: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = bound
    return config
