"""`interlock audit`: verify the chain of the ledger or an export of it, export its events, show and change the key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, By, Comment, Home, Json, Policies
from interlock.cli.output import emit, lines, say
from interlock.cli.problems import FAILED

app = typer.Typer(help="The ledger: verify, export, keys of the seals, erasure.", no_args_is_help=True)


@app.command()
def verify(
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    export: Annotated[
        list[Path] | None,
        typer.Option("--export", help="Check this file, and no database; repeated: archives in order, then the rest."),
    ] = None,
    key: Annotated[
        list[Path] | None, typer.Option("--key", help="Public key for an export, or a folder of them; may be repeated.")
    ] = None,
    anchor: Annotated[Path | None, typer.Option("--anchor", help="Anchor file for an export.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="The export begins after an archive.")] = False,
    archived: Annotated[bool, typer.Option("--archive", help="The export is an archive, and nothing follows.")] = False,
    as_json: Json = False,
) -> None:
    """Read the whole chain again; ends with 1 and names the first bad event when it was touched."""
    from interlock.cli.session import drive, reading

    if export:
        raise typer.Exit(_verify_export(export, key or [], anchor, as_json, partial=partial, archive=archived))

    async def work() -> Any:
        async with reading(home, policies=policies) as plane:
            return await plane.ledger.verify()

    report = drive(work())
    if as_json:
        emit({"ok": report.ok, "events": report.events, "first_bad": report.first_bad, "why": report.why})
    else:
        sound = "verified" if report.ok else f"BROKEN at event {report.first_bad}: {report.why}"
        print(f"{report.events} events, {sound}")
    if not report.ok:
        say("hint: compare with a backup or an export; events before that one are as they were written")
        raise typer.Exit(FAILED)


@app.command()
def export(
    home: Home = DEFAULT_HOME,
    case: Annotated[str | None, typer.Option("--case", help="Of this case only.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this time on (ISO 8601).")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this tenant; else of the plane's own.")] = None,
    proof: Annotated[
        bool, typer.Option("--proof", help="With all seals, so that `verify --export` can tell whether it is whole.")
    ] = False,
    policies: Policies = None,
) -> None:
    """Events as JSON lines on stdout."""
    from interlock.cli.session import drive, reading

    if proof and since is not None:
        raise typer.BadParameter("a proof is of all events: leave --since away")

    async def work() -> None:
        async with reading(home, policies=policies) as plane:
            whose = tenant or plane.tenant
            await lines(plane.ledger.part(whose, case) if proof else plane.ledger.export(case, since, whose))

    drive(work())


@app.command()
def key(
    home: Home = DEFAULT_HOME,
    rotated: Annotated[bool, typer.Option("--rotate", help="Make a new key first; the old public one stays.")] = False,
    as_json: Json = False,
) -> None:
    """The public keys of the seals: give them to those who verify. A live engine goes on with its key until it ends."""
    from interlock.graphs.opening import proof_of
    from interlock.observability.seal import rotate
    from interlock.settings import Settings

    proof = proof_of(home, Settings.load(home))
    if rotated:
        say(f"the new key is {rotate(proof)}")
    known = proof.keys()
    files = {name: str(home / "seal_keys" / f"{name}.pem") for name in known}
    if as_json:
        return emit({"items": files, "anchor": str(proof.anchor)})
    for file in files.values():
        print(file)
    return None


@app.command()
def archive(
    by: By,
    home: Home = DEFAULT_HOME,
    before: Annotated[
        str | None, typer.Option("--before", help="Events before this time (ISO 8601); else past `retention_days`.")
    ] = None,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Move old events into sealed files. They can be verified together with the rest, and each by itself."""
    from interlock.cli.change import change
    from interlock.cli.session import drive

    moved = drive(change(home, "archive", policies=policies, by=by, before=before))["archived"]
    if as_json:
        return emit(moved)
    for file in moved["files"]:
        print(file)
    say(f"{moved['events']} events archived; {moved['kept']} of cases that have not ended stay in the database too")
    return None


@app.command()
def erase(
    by: By,
    comment: Comment,
    home: Home = DEFAULT_HOME,
    case: Annotated[list[str] | None, typer.Option("--case", help="An ended case; may be repeated.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Every case that holds this text, as a name or an address.")
    ] = None,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Take out what ended cases, and those they started, hold of people. The chain of the ledger stays whole."""
    from interlock.cli.change import change
    from interlock.cli.session import drive

    work = change(home, "erase", policies=policies, case_ids=case or [], subject=subject, by=by, comment=comment)
    erased = drive(work)["erased"]
    if as_json:
        return emit(erased)
    for case_id in erased["cases"]:
        print(case_id)
    say(f"{len(erased['cases'])} cases and {erased['payloads']} payloads erased")
    return None


def _verify_export(files: list[Path], keys: list[Path], anchor: Path | None, as_json: bool, **piece: bool) -> int:
    from interlock.errors import InputError
    from interlock.observability.verify import check_files, read_keys

    if not keys:
        raise InputError("an export is checked with a public key", "give --key; `interlock audit key` names them")
    try:
        pems = (file for one in keys for file in (sorted(one.glob("*.pem")) if one.is_dir() else [one]))
        known = read_keys(each.read_bytes() for each in pems)
        found = check_files(files, known, anchor.read_bytes() if anchor else None, **piece)
    except (OSError, ValueError) as exc:
        hint = "give an export, and public keys as `interlock audit key` names them"
        raise InputError(f"the export cannot be checked: {exc}", hint) from exc
    if as_json:
        emit(found._asdict())
    else:
        print(found.summary() if found.ok else f"BROKEN at event {found.first_bad}: {found.why}")
    return 0 if found.ok else FAILED
