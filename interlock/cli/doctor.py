"""`interlock doctor`: is everything there that a plane needs, and is it sound?"""

from __future__ import annotations

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies
from interlock.cli.output import emit, table
from interlock.cli.problems import FAILED


def doctor(home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """Examine installation, home and project.

    Python, packages, home, settings, credentials, database, ledger, engine, model, project and its systems. Ends
    with 1 when something is wrong; each with a hint.
    """
    from interlock.cli.examination import examine
    from interlock.cli.session import drive

    found = drive(examine(home, policies))
    ok = all(finding.ok for finding in found)
    if as_json:
        emit({"ok": ok, "checks": found})
    else:
        table(("", "what", "found", "hint"), [("ok" if f.ok else "WRONG", f.what, f.found, f.hint) for f in found])
    if not ok:
        raise typer.Exit(FAILED)
