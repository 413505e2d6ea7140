"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DEFAULT_HOME", "By", "Comment", "Cursor", "Home", "Json", "Limit", "Policies", "Shadow", "Workflow"]

Home = Annotated[Path, typer.Option("--home", envvar="INTERLOCK_HOME", help="Folder of the database.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
By = Annotated[str, typer.Option("--by", envvar="INTERLOCK_BY", help="Who does this, as person:ana.")]
Comment = Annotated[str, typer.Option("--comment", help="Why; it goes into the ledger.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many to show.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Where the last page ended.")]
Policies = Annotated[
    Path | None, typer.Option("--policies", help="Folder or file of Cedar policies; else as set, or shipped.")
]
Shadow = Annotated[
    Path | None, typer.Option("--shadow", help="Policies asked beside those that decide; differences are recorded.")
]
Workflow = Annotated[str | None, typer.Option("--workflow", help="Of this workflow only.")]

DEFAULT_HOME = Path(".interlock")
