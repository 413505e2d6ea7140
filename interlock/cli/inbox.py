"""`interlock inbox` and `interlock approvals`: what waits for people, and how they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, By, Comment, Cursor, Home, Json, Limit, Policies, Shadow
from interlock.cli.output import emit, page, pairs

app = typer.Typer(help="What waits for people: approvals, tasks, exceptions.", invoke_without_command=True)
approvals = typer.Typer(help="Approvals: list, show, claim, release, delegate, decide.", invoke_without_command=True)

Id = Annotated[str, typer.Argument(metavar="ITEM", help="Id of the item.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ITEM...", help="Ids of the items.")]
All = Annotated[bool, typer.Option("--all", help="Instead of ids: all open approvals, the oldest first.")]
Tool = Annotated[str | None, typer.Option("--tool", help="With --all: those about this tool or step only.")]
Max = Annotated[int, typer.Option("--max", min=1, max=1000, help="With --all: at most so many.")]
To = Annotated[str, typer.Option("--to", help="Who is asked, as person:ana.")]
Kind = Annotated[str | None, typer.Option("--kind", help="approval, task or exception.")]
Status = Annotated[str, typer.Option("--status", help="open, decided, completed, expired, cancelled, or any.")]
Role = Annotated[str | None, typer.Option("--role", help="What this role may answer.")]
CaseId = Annotated[str | None, typer.Option("--case", help="Of this case only.")]
Approve = Annotated[bool, typer.Option("--approve", help="Yes; of an exception: perform the task again.")]
Reject = Annotated[str | None, typer.Option("--reject", metavar="WHY", help="No, and why; a no is final.")]
Edit = Annotated[str | None, typer.Option("--edit", metavar="JSON", help="Yes, with these arguments changed.")]
Respond = Annotated[str | None, typer.Option("--respond", metavar="JSON", help="An answer in place of the action.")]
Digest = Annotated[str | None, typer.Option("--digest", help="Only if this is still the action that is asked for.")]

_COLUMNS = ("item", "kind", "task", "asks for", "money", "authority", "opened", "due")
_KINDS, _STATUSES = ("approval", "task", "exception"), ("open", "decided", "completed", "expired", "cancelled", "any")


def _lister(fixed: str | None) -> Callable[..., None]:
    """The listing, of every kind or of one: of the bare group, and of its `list`."""

    def listing(
        ctx: typer.Context,
        home: Home = DEFAULT_HOME,
        kind: Kind = fixed,
        status: Status = "open",
        role: Role = None,
        case: CaseId = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        policies: Policies = None,
        as_json: Json = False,
    ) -> None:
        if ctx.invoked_subcommand is None:
            wanted = None if _one_of(status, _STATUSES, "--status") == "any" else status
            query = (_one_of(kind, _KINDS, "--kind"), wanted, role, case, limit, cursor)
            _list(home, policies, query, as_json)

    listing.__doc__ = f"{'Approvals' if fixed else 'Items'} that wait, the oldest first."
    return listing


def _list(home: Path, policies: Path | None, query: tuple[Any, ...], as_json: bool) -> None:
    from interlock.cli.session import drive, modelled, reading

    async def work() -> Any:
        async with reading(home, policies=policies) as plane:
            if query[2] is not None:  # who has a role is said by the project
                async with modelled(home, policies=policies) as project:
                    for actor in project.services.actors:
                        plane.register_actor(actor)
            return await plane.inbox.list(*query)

    found = drive(work())
    page([item.as_json() for item in found.items], found.cursor, as_json, _COLUMNS, map(row, found.items))


def row(item: Any) -> tuple[Any, ...]:
    """An item in a table."""
    asked = item.action.get("tool") or "; ".join(reason.text for reason in item.reasons)
    return (item.id, item.kind, item.task, asked, money(item.money), item.authority, item.opened_at, item.due)


def money(value: Any) -> str | None:
    """Minor units as people write them."""
    from interlock.money import Money

    return str(Money(value["amount"], value["currency"])) if value else None


def _one_of(value: str | None, known: tuple[str, ...], option: str) -> str | None:
    if value is not None and value not in known:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}", param_hint=option)
    return value


def show(item: Id, home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """One item: what is asked, why, who may answer, the evidence."""
    from interlock.cli.session import drive, reading

    async def work() -> Any:
        async with reading(home, policies=policies) as plane:
            return await plane.inbox.get(item)

    _show(drive(work()).as_json(), as_json)


def decide(
    by: By,
    items: Ids = None,
    every: All = False,
    tool: Tool = None,
    most: Max = 100,
    home: Home = DEFAULT_HOME,
    approve: Approve = False,
    reject: Reject = None,
    edit: Edit = None,
    respond: Respond = None,
    comment: Comment = "",
    digest: Digest = None,
    policies: Policies = None,
    shadow: Shadow = None,
    as_json: Json = False,
) -> None:
    """Answer approvals or exceptions; their cases go on at once. Many are answered one by one: each is checked."""
    answer, ids = _decision(approve, reject, edit, respond), items or []
    if bool(ids) == every or (tool is not None and not every):
        raise typer.BadParameter("give ids, or --all with --tool and --max")
    if len(ids) == 1:
        said = {"decision": answer, "by": by, "comment": comment, "digest": digest}
        return _change(home, "decide", policies, as_json, shadow=shadow, item_id=ids[0], **said)
    if digest is not None:
        raise typer.BadParameter("a digest is that of one item", param_hint="--digest")
    from interlock.cli.bulk import answer_many, open_approvals

    ids = open_approvals(home, policies, tool, most) if every else ids
    return answer_many(home, policies, ids, as_json, shadow=shadow, decision=answer, by=by, comment=comment)


def claim(item: Id, by: By, home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """Take an item: nobody else answers it until it is released, and working time counts."""
    _change(home, "claim", policies, as_json, item_id=item, by=by)


def release(
    item: Id,
    by: By,
    home: Home = DEFAULT_HOME,
    comment: Comment = "",
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Give a claimed item back; an operator may do so for others."""
    _change(home, "release", policies, as_json, item_id=item, by=by, comment=comment)


def delegate(
    item: Id,
    to: To,
    by: By,
    home: Home = DEFAULT_HOME,
    comment: Comment = "",
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Hand one item to another person, who must be able to answer it."""
    _change(home, "delegate", policies, as_json, item_id=item, to=to, by=by, comment=comment)


def complete(
    item: Id,
    output: Annotated[str, typer.Option("--output", metavar="JSON", help="The output of the task.")],
    by: By,
    home: Home = DEFAULT_HOME,
    comment: Comment = "",
    policies: Policies = None,
    shadow: Shadow = None,
    as_json: Json = False,
) -> None:
    """Hand in the output of a task."""
    value = _parsed(output, "--output")
    _change(home, "complete", policies, as_json, shadow=shadow, item_id=item, output=value, by=by, comment=comment)


def _decision(approve: bool, reject: str | None, edit: str | None, respond: str | None) -> dict[str, Any]:
    """The one answer that was given, as JSON. Raises BadParameter unless it is exactly one."""
    given: list[dict[str, Any]] = [{"kind": "approve"}] if approve else []
    given += [{"kind": "reject", "why": reject}] if reject is not None else []
    given += [{"kind": "edit", "args": json_object(edit, "--edit")}] if edit is not None else []
    given += [{"kind": "respond", "value": _text_or_json(respond)}] if respond is not None else []
    if len(given) != 1:
        raise typer.BadParameter("give one of --approve, --reject WHY, --edit JSON, --respond JSON")
    return given[0]


def _parsed(text: str, option: str) -> Any:
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise typer.BadParameter(f"no JSON: {exc}", param_hint=option) from exc


def json_object(text: str, option: str) -> dict[str, Any]:
    """The JSON object in an option. Raises BadParameter."""
    value = _parsed(text, option)
    if not isinstance(value, dict):
        raise typer.BadParameter("give a JSON object", param_hint=option)
    return value


def _text_or_json(text: str) -> Any:
    """JSON where it is JSON; plain words need no quotes."""
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _change(home: Path, command: str, policies: Path | None, as_json: bool, **params: Any) -> None:
    from interlock.cli.change import change
    from interlock.cli.session import drive

    _show(drive(change(home, command, policies=policies, **params)), as_json)


def _show(item: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return emit(item)
    decision = item["decision"] or {}
    pairs({name: item[name] for name in _FIRST if item[name]})
    _section("passes on", {step["to"]: step["at"] or "later" for step in item["chain"]})
    _section("given before", {one["by"]: f"{one['authority']}, {one['at']}" for one in item["given"]})
    _section("missing", item["missing"] if item["status"] == "open" else {})
    _section("asks for", {"tool": item["action"].get("tool"), **item["action"].get("args", {})})
    _section("because", dict(item["reasons"]))
    evidence = item["evidence"] if isinstance(item["evidence"], dict) else {"": item["evidence"]}
    _section("comes from", {arg: "; ".join(map(_source, told)) for arg, told in evidence.get("sources", {}).items()})
    _section("found", {name: value for name, value in evidence.items() if name != "sources"})
    _section("answer", {"kind": decision.get("kind"), "by": item["decided_by"], "at": item["decided_at"]})
    return _section("", {"why": decision.get("why"), "comment": item["comment"]})


def _source(told: dict[str, Any]) -> str:
    """Where one value of an argument comes from: `acme: output of erp.vendor, 2026-03-02T08:00:00Z, trusted`."""
    of = f" of {told['source']}" if told.get("source") else ""
    trust = "trusted" if told["trusted"] else "not trusted"
    return ", ".join([f"{told['value']}: {told['origin']}{of}", *([told["at"]] if told.get("at") else []), trust])


def _section(title: str, values: dict[str, Any]) -> None:
    """The values that are there, under a title."""
    shown = {f"  {name}": value for name, value in values.items() if value not in (None, "", [], {})}
    if shown:
        print(title, end="\n" if title else "")
        pairs(shown)


_FIRST = (
    "id", "kind", "case_id", "workflow", "task", "status", "requester", "authority", "need", "eligible", "assignee",
    "claimed_by", "delegated_to", "opened_at", "due",
)  # fmt: skip


for group, kind in ((app, None), (approvals, "approval")):
    group.callback()(_lister(kind))
    group.command("list")(_lister(kind))
    group.command("show")(show)
    group.command("decide")(decide)
    group.command("claim")(claim)
    group.command("release")(release)
    group.command("delegate")(delegate)
app.command("complete")(complete)
