"""The database of the reference CMMS: reference data, maintenance requests and work orders.

Plain SQLite of its own, apart from the plane's database: an outside system keeps its own truth.
Times are text as `interlock.clock.iso` writes them, so they compare and sort as text.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from interlock.clock import iso, parse
from interlock.examples.enterprise.reference import Reference

OPEN_FOR = timedelta(hours=24)  # how long a request takes in further alerts, in event time, the end included

_SCHEMA = """
CREATE TABLE IF NOT EXISTS assets(id TEXT PRIMARY KEY, name TEXT, site TEXT);
CREATE TABLE IF NOT EXISTS rules(id TEXT PRIMARY KEY, name TEXT);
CREATE TABLE IF NOT EXISTS rule_codes(rule TEXT, position INTEGER, code TEXT, description TEXT,
  PRIMARY KEY(rule, code));
CREATE TABLE IF NOT EXISTS history(id TEXT PRIMARY KEY, asset TEXT, code TEXT, description TEXT, preventive INTEGER,
  priority INTEGER, finished TEXT, minutes INTEGER);
CREATE INDEX IF NOT EXISTS history_code ON history(code, finished);
CREATE INDEX IF NOT EXISTS history_asset ON history(asset, finished);
CREATE TABLE IF NOT EXISTS technicians(id TEXT PRIMARY KEY, name TEXT, site TEXT, skills TEXT, assets TEXT,
  shift_start INTEGER, shift_end INTEGER);
CREATE TABLE IF NOT EXISTS jobs(code TEXT PRIMARY KEY, labour_minutes INTEGER, parts INTEGER, currency TEXT);
CREATE TABLE IF NOT EXISTS requests(id TEXT PRIMARY KEY, asset TEXT, code TEXT, first TEXT, alert TEXT,
  UNIQUE(asset, code, first));
CREATE TABLE IF NOT EXISTS alerts(key TEXT PRIMARY KEY, asset TEXT, code TEXT, start TEXT, answer TEXT);
CREATE TABLE IF NOT EXISTS work_orders(id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, request TEXT NOT NULL, asset TEXT,
  body TEXT, status TEXT, starts TEXT, ends TEXT, technician TEXT);
CREATE INDEX IF NOT EXISTS work_orders_asset ON work_orders(asset);
CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, value INTEGER);
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT);
"""
_REFERENCE = ("assets", "rules", "rule_codes", "history", "technicians", "jobs")
_STAGES = ("created", "scheduled", "assigned", "released")
_STEPS = {"schedule": "scheduled", "assign": "assigned", "close": "released"}


_INSERT_ORDER = "INSERT INTO work_orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_COUNT_DOUBLE = "INSERT INTO counters VALUES ('refused_doubles', 1) ON CONFLICT DO UPDATE SET value = value + 1"


class Refused(Exception):
    """The CMMS says no: `status` is the HTTP status it answers with."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class CmmsStore:
    """One database file (or memory, without a path). Safe to use from several threads and processes."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=30)
        self._db.row_factory = sqlite3.Row
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._db.execute(sql, params).fetchall()]

    # -- reference data

    def loaded(self) -> str | None:
        """The digest of the reference data that is there."""
        found = self._rows("SELECT value FROM meta WHERE name = 'reference'")
        return found[0]["value"] if found else None

    def load(self, reference: Reference) -> dict[str, int]:
        """Replace the reference data; requests and work orders stay. The same again does nothing.

        Gives rows per table.
        """
        if self.loaded() != reference.digest:
            self._replace(reference)
        counts = ((table, self._rows(f"SELECT count(*) AS n FROM {table}")) for table in _REFERENCE)  # noqa: S608  # our own names
        return {table: rows[0]["n"] for table, rows in counts}

    def _replace(self, reference: Reference) -> None:
        parts: dict[str, list[tuple[Any, ...]]] = {
            "assets": list(reference.assets.values()),
            "rules": list(reference.rules.values()),
            "rule_codes": reference.rule_codes,
            "history": reference.history,
            "technicians": reference.technicians,
            "jobs": reference.jobs,
        }
        with self._write() as db:
            for table, rows in parts.items():
                db.execute(f"DELETE FROM {table}")  # noqa: S608  # names from the list above
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608  # as above
            db.execute("INSERT OR REPLACE INTO meta VALUES ('reference', ?)", (reference.digest,))

    # -- reads

    def asset(self, name: str) -> dict[str, Any]:
        """By id, else by name in any case. Raises Refused(404), or Refused(409) when several have the name."""
        sql = "SELECT * FROM assets WHERE id = ? OR lower(name) = lower(?) ORDER BY id <> ?, id"
        found = self._rows(sql, (name, name, name))
        if len(found) > 1 and found[0]["id"] != name:
            raise Refused(409, f"{name!r} is the name of {', '.join(asset['id'] for asset in found)}")
        return found[0] if found else _absent(f"no asset {name!r}")

    def rule(self, rule: str) -> dict[str, Any]:
        """`{id, name, codes: [{code, description}]}` in the order of the mapping. Raises Refused(404)."""
        found = self._rows("SELECT * FROM rules WHERE id = ?", (rule,))
        sql = "SELECT code, description FROM rule_codes WHERE rule = ? ORDER BY position"
        return {**found[0], "codes": self._rows(sql, (rule,))} if found else _absent(f"no rule {rule!r}")

    def history(self, codes: Sequence[str], before: str, asset: str | None = None, limit: int = 5) -> dict[str, Any]:
        """Past work orders finished before a time, per code: count, newest ids, median minutes.

        Only what was loaded as history counts, never a work order that was written through this CMMS.
        """
        where, params = ("asset = ? AND ", [asset]) if asset else ("", [])
        of_codes = f"code IN ({', '.join('?' * len(codes))}) AND " if codes else ""
        sql = f"SELECT id, code, preventive, minutes FROM history WHERE {where}{of_codes}finished < ?"  # noqa: S608  # fixed texts
        rows = self._rows(sql + " ORDER BY finished DESC, id", [*params, *codes, before])
        named = [(code, [row for row in rows if row["code"] == code]) for code in codes]
        return {
            "finished": len(rows),
            "corrective": sum(not row["preventive"] for row in rows),
            "counts": {code: len(of) for code, of in named},
            "cited": {code: [row["id"] for row in of[:limit]] for code, of in named},
            "median_minutes": {code: _median([r["minutes"] for r in of if r["minutes"]]) for code, of in named},
            "newest": [row["id"] for row in rows[:limit]],
        }

    def job(self, code: str) -> dict[str, Any]:
        """Usual labour and parts of a failure code, else of its family (the letters before its number).

        `{code, labour_minutes, parts, currency}`, parts in minor units. Raises Refused(404).
        """
        sql = "SELECT * FROM jobs WHERE code IN (?, ?) ORDER BY length(code) DESC"
        found = self._rows(sql, (code, code.rstrip("0123456789")))
        return {**found[0], "code": code} if found else _absent(f"no job is described for {code!r}")

    def technicians(self, asset: str, start: str, request: str) -> list[dict[str, Any]]:
        """Those who cover an asset, with their load: other open orders of this asset at `start`, in event time."""
        site = self.asset(asset)["site"]
        people = self._rows("SELECT * FROM technicians WHERE site = ? ORDER BY id", (site,))
        lists = ({**one, "skills": _list(one["skills"]), "assets": _list(one["assets"])} for one in people)
        load = self._load(asset, start, request)
        return [{**one, "load": load.get(one["id"], 0)} for one in lists if asset in (one["assets"] or [asset])]

    def _load(self, asset: str, start: str, request: str) -> dict[str, int]:
        sql = """SELECT w.technician, count(*) AS n FROM work_orders w JOIN requests r ON r.id = w.request
                 WHERE w.asset = ? AND w.status <> 'cancelled' AND w.technician IS NOT NULL AND r.id <> ?
                   AND r.first BETWEEN ? AND ? GROUP BY w.technician"""
        since = iso(parse(start) - OPEN_FOR)
        return {row["technician"]: row["n"] for row in self._rows(sql, (asset, request, since, start))}

    def stats(self) -> dict[str, int]:
        sql = """SELECT (SELECT count(*) FROM alerts) AS alerts, (SELECT count(*) FROM requests) AS requests,
                 (SELECT count(*) FROM work_orders) AS work_orders,
                 (SELECT count(*) FROM work_orders WHERE status = 'released') AS released,
                 coalesce((SELECT value FROM counters WHERE name = 'refused_doubles'), 0) AS refused_doubles"""
        return self._rows(sql)[0]

    # -- requests

    def report(self, key: str, asset: str, code: str, start: str) -> dict[str, Any]:
        """Open a request for an alert, or join the open one: `{request, joined, first, alert}`, the same ever after.

        Joins when asset and code are equal and the alert starts 0 to 24 hours after that request's first alert.
        Raises Refused(404) for an unknown asset, Refused(409) when the key was used for another alert.
        """
        self.asset(asset)
        with self._write() as db:
            known = db.execute("SELECT * FROM alerts WHERE key = ?", (key,)).fetchone()
            if known:
                return _same(dict(known), {"asset": asset, "code": code, "start": start}, json.loads(known["answer"]))
            answer = _join(db, asset, code, start) or _open(db, key, asset, code, start)
            db.execute("INSERT INTO alerts VALUES (?, ?, ?, ?, ?)", (key, asset, code, start, json.dumps(answer)))
            return answer

    # -- work orders

    def create(self, key: str, order: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The work order of an idempotency key, and whether this call created it; a double is counted and refused.

        Raises Refused(404) for an unknown request, Refused(409) when the key was used for another order.
        """
        asset = self._request(order["request"])["asset"]
        body = json.dumps(order, sort_keys=True)
        row = ("WO" + order["request"][2:], key, order["request"], asset, body, "created", None, None, None)
        with self._write() as db:
            made = db.execute(_INSERT_ORDER, row).rowcount > 0
            if not made:
                db.execute(_COUNT_DOUBLE)
        found = self._rows("SELECT * FROM work_orders WHERE key = ? OR id = ?", (key, row[0]))[0]
        return _same(found, {"key": key, "body": body}, _order(found)), made

    def _request(self, request: str) -> dict[str, Any]:
        found = self._rows("SELECT * FROM requests WHERE id = ?", (request,))
        return found[0] if found else _absent(f"no maintenance request {request!r}")

    def find(self, key: str) -> dict[str, Any]:
        found = self._rows("SELECT * FROM work_orders WHERE key = ?", (key,))
        return _order(found[0]) if found else _absent(f"no work order with the key {key!r}")

    def work_order(self, order: str) -> dict[str, Any]:
        found = self._rows("SELECT * FROM work_orders WHERE id = ?", (order,))
        return _order(found[0]) if found else _absent(f"no work order {order!r}")

    def work_orders(self) -> list[dict[str, Any]]:
        return [_order(row) for row in self._rows("SELECT * FROM work_orders ORDER BY id")]

    def advance(self, order: str, step: str, values: dict[str, str]) -> dict[str, Any]:
        """Take a step (schedule, assign, close) with its values; the same step with the same values again is no error.

        Raises Refused(404) or, when the order stands elsewhere, Refused(409).
        """
        after = _STEPS[step]
        place = _STAGES.index(after)
        sets = "".join(f"{name} = ?, " for name in values)
        sql = f"UPDATE work_orders SET {sets}status = ? WHERE id = ? AND status = ?"  # noqa: S608  # our own columns
        with self._write() as db:
            db.execute(sql, (*values.values(), after, order, _STAGES[place - 1]))
        current = self.work_order(order)
        taken = current["status"] in _STAGES[place:]
        if not taken or any(current[name] != value for name, value in values.items()):
            raise Refused(409, f"work order {order} is {current['status']}: it cannot be {after} as asked")
        return current

    def cancel(self, order: str) -> dict[str, Any]:
        self.work_order(order)
        with self._write() as db:
            db.execute("UPDATE work_orders SET status = 'cancelled' WHERE id = ?", (order,))
        return self.work_order(order)


def _join(db: sqlite3.Connection, asset: str, code: str, start: str) -> dict[str, Any] | None:
    sql = "SELECT * FROM requests WHERE asset = ? AND code = ? AND first BETWEEN ? AND ? ORDER BY first LIMIT 1"
    row = db.execute(sql, (asset, code, iso(parse(start) - OPEN_FOR), start)).fetchone()
    return {"request": row["id"], "joined": True, "first": row["first"], "alert": row["alert"]} if row else None


def _open(db: sqlite3.Connection, key: str, asset: str, code: str, start: str) -> dict[str, Any]:
    # Asset, code and first alert make the id, so it is the same in every run, whatever ran beside it.
    request = f"MR-{asset}-{code}-{parse(start).strftime('%Y%m%d%H%M%S%f').removesuffix('00000000')}"
    db.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?)", (request, asset, code, start, key))
    return {"request": request, "joined": False, "first": start, "alert": key}


def _same(found: dict[str, Any], asked: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    if other := [name for name, value in asked.items() if found[name] != value]:
        raise Refused(409, f"the key was used before with another {', '.join(other)}")
    return answer


def _order(row: dict[str, Any]) -> dict[str, Any]:
    stored = {name: row[name] for name in ("id", "key", "asset", "status", "starts", "ends", "technician")}
    return {**json.loads(row["body"]), **stored}


def _median(values: list[int]) -> int | None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _absent(what: str) -> Any:
    raise Refused(404, what)
