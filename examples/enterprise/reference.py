"""Reads the plant's reference data (assets, rules, codes, past work orders, technicians) from CSV files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from interlock import errors
from interlock.clock import iso
from interlock.money import Money
from interlock.tables import Line, lines
from interlock.tools.systems.cmms import anomaly_rule, event_time

RULES = "alert_rule.csv"
RULE_CODES = "alert_rule_failure_code_mapping.csv"
ANOMALY_CODES = "anomaly_to_failure_code_mapping.csv"
HISTORY = "all_wo_with_code_component_events.csv"
ASSETS = "assets.csv"
TECHNICIANS = "technicians.csv"
JOBS = "jobs.csv"
SAMPLE = Path(__file__).parent / "sample"
# What a folder without technicians or jobs gets: the crew of an invented plant, at every site, and its prices.
CREW = Path(__file__).parent / "crew.csv"
PRICES = Path(__file__).parent / "jobs.csv"
_FILES = (RULES, RULE_CODES, ANOMALY_CODES, HISTORY, ASSETS, TECHNICIANS, JOBS)
_TIME_HINT = "write times as 11/24/20 19:00 (UTC) or in ISO 8601"

Row = tuple[Any, ...]


@dataclass
class Reference:
    """Rows in the order of the store's columns, and the digest of the files they come from."""

    digest: str
    assets: dict[str, Row] = field(default_factory=dict)  # id -> id, name, site
    rules: dict[str, Row] = field(default_factory=dict)  # id -> id, name
    rule_codes: list[Row] = field(default_factory=list)  # rule, position, code, description
    history: list[Row] = field(default_factory=list)  # id, asset, code, description, preventive, priority, at, minutes
    technicians: list[Row] = field(default_factory=list)  # id, name, site, skills, assets, shift start, shift end
    jobs: list[Row] = field(default_factory=list)  # code or family, labour minutes, parts, currency


def site_of(asset: str) -> str:
    """The site in an asset's number: all but its last two characters (CWC04006 stands in CWC040)."""
    return asset[:-2] if len(asset) > 2 else asset


def read_reference(folder: Path) -> Reference:
    """Read a folder. Raises InputError with file, line, column and hint for whatever is wrong in it."""
    if not folder.is_dir():
        raise errors.InputError(f"there is no folder {folder}", "name the folder of the plant's CSV files")
    reference = Reference(_digest(folder))
    _read_assets(folder, reference)
    _read_rules(folder, reference)
    _read_history(folder, reference)
    _read_technicians(folder, reference)
    _read_jobs(folder, reference)
    return reference


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in (*(folder / name for name in _FILES), CREW, PRICES):
        whole.update(path.read_bytes() if path.is_file() else b"-")
    return whole.hexdigest()


def _read_assets(folder: Path, reference: Reference) -> None:
    if not (folder / ASSETS).exists():
        return
    for line in lines(folder / ASSETS, ("equipment_id", "equipment_name", "site")):
        asset = line.text("equipment_id")
        reference.assets[asset] = (asset, line.text("equipment_name"), line.text("site"))


def _read_rules(folder: Path, reference: Reference) -> None:
    if (folder / RULES).exists():
        for line in lines(folder / RULES, ("rule_id", "rule_name")):
            reference.rules[line.text("rule_id")] = (line["rule_id"], line["rule_name"])
    columns = ("rule_id", "rule_name", "primary_code", "primary_code_description")
    for line in lines(folder / RULE_CODES, columns):
        _map(reference, line.text("rule_id"), line["rule_name"], line)
    if not (folder / ANOMALY_CODES).exists():
        return
    for line in lines(folder / ANOMALY_CODES, ("kpi_name", "anomaly_type", *columns[2:])):
        kpi, kind = line.text("kpi_name"), line.text("anomaly_type")
        _map(reference, anomaly_rule(kpi, kind), f"{kpi} {kind.lower()}", line)


def _map(reference: Reference, rule: str, name: str, line: Line) -> None:
    code = line.text("primary_code")
    mapped = [row[2] for row in reference.rule_codes if row[0] == rule]
    reference.rules.setdefault(rule, (rule, name))
    if code not in mapped:
        reference.rule_codes.append((rule, len(mapped), code, line["primary_code_description"]))


def _read_history(folder: Path, reference: Reference) -> None:
    columns = ("wo_id", "primary_code", "equipment_id", "equipment_name", "preventive", "actual_finish", "duration")
    for line in lines(folder / HISTORY, columns, optional=("wo_description", "work_priority")):
        asset = line.text("equipment_id")
        reference.assets.setdefault(asset, (asset, line["equipment_name"] or asset, site_of(asset)))
        if line["actual_finish"]:  # what is not finished says nothing about the past
            reference.history.append(_finished(line, asset))


def _finished(line: Line, asset: str) -> Row:
    at = iso(line.value("actual_finish", event_time, _TIME_HINT))
    preventive = int(line.value("preventive", _truth, "write TRUE or FALSE"))
    priority = line.value("work_priority", lambda text: int(text or 0), "write a whole number, as 2")
    minutes = line.value("duration", _minutes, "write hours and minutes, as 3:00")
    code, what = line.text("primary_code"), line["wo_description"]
    return line.text("wo_id"), asset, code, what, preventive, priority, at, minutes


def _truth(text: str) -> bool:
    if text.upper() not in ("TRUE", "FALSE"):
        raise ValueError(text)
    return text.upper() == "TRUE"


def _minutes(text: str) -> int | None:
    """`3:00` or `40:00:00` (hours first) as minutes; None where nothing was written down."""
    if not text:
        return None
    hours, minutes = text.split(":")[:2]
    if not (hours.isdigit() and minutes.isdigit()):
        raise ValueError(text)
    return int(hours) * 60 + int(minutes)


def _read_technicians(folder: Path, reference: Reference) -> None:
    own = folder / TECHNICIANS
    columns = ("technician_id", "name", "skills", "shift_start", "shift_end")
    if own.exists():
        for line in lines(own, (*columns, "site"), optional=("assets",)):
            reference.technicians.append(_technician(line, line.text("site"), line["assets"]))
        return
    sites = sorted({row[2] for row in reference.assets.values()})
    for line in lines(CREW, columns):  # no technicians in the folder: each site gets the same invented crew
        reference.technicians.extend(_technician(line, site, "", f"-{site}") for site in sites)


def _technician(line: Line, site: str, assets: str, suffix: str = "") -> Row:
    hint = "write an hour of the day, 0 to 24"
    start, end = (line.value(name, _hour, hint) for name in ("shift_start", "shift_end"))
    return line.text("technician_id") + suffix, line.text("name"), site, line.text("skills"), assets, start, end


def _hour(text: str) -> int:
    if not 0 <= int(text) <= 24:
        raise ValueError(text)
    return int(text)


def _read_jobs(folder: Path, reference: Reference) -> None:
    own = folder / JOBS
    for line in lines(own if own.exists() else PRICES, ("code", "labour_minutes", "parts", "currency")):
        minutes = line.value("labour_minutes", _positive, "write whole minutes, as 180")
        price = partial(_price, currency=line.text("currency"))
        parts = line.value("parts", price, "write an amount, as 98.70")
        reference.jobs.append((line.text("code"), minutes, parts, line["currency"]))


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _price(text: str, currency: str) -> int:
    amount = Money.of(text, currency).amount
    if amount < 0:
        raise ValueError(text)
    return amount
