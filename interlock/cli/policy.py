"""`interlock policy`: check a policy set, explain one decision, take another set while the engine lives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from interlock.cli.options import DEFAULT_HOME, Home, Json, Policies, Workflow
from interlock.cli.output import emit, plain, say, table
from interlock.cli.problems import FAILED

app = typer.Typer(help="Policies: check a set, explain a decision, reload.", no_args_is_help=True)

Tool = Annotated[str | None, typer.Option("--tool", help="The tool, or any other action of the policies.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Who would act, as agent:clerk.")]
Item = Annotated[str | None, typer.Option("--item", help="What this inbox item asks.")]
Call = Annotated[str | None, typer.Option("--call", metavar="KEY", help="A recorded call, by its effect_key.")]
Args = Annotated[str, typer.Option("--args", metavar="JSON", help="The arguments of the tool.")]
Requester = Annotated[
    str | None, typer.Option("--requester", help="Who asked for the case; kept apart from approving.")
]
Who = Annotated[str, typer.Option("--by", envvar="INTERLOCK_BY", help="Who does this, as person:ana.")]
Context = Annotated[str, typer.Option("--context", metavar="JSON", help="Further context, as totals or approvals.")]


@app.command()
def check(home: Home = DEFAULT_HOME, policies: Policies = None, as_json: Json = False) -> None:
    """Name everything that is wrong with a policy set, with file, line and column; ends with 1 when there is."""
    from interlock.cli.policies import examine
    from interlock.cli.session import drive

    found = drive(examine(home, policies))
    if as_json:
        emit(found)
    else:
        for problem in [*found["problems"], *found["hints"]]:
            print(problem)
        for limit in found["lifted"]:
            by = " and ".join(f"{count} of {name}" for name, count in limit["by"].items())
            print("{file}:{line}: {policy}: {limit} on {action} is lifted by approval:".format(**limit), by)
        say(f"{len(found['files'])} files, {len(found['problems'])} problems, {len(found['hints'])} hints")
    if found["problems"]:
        raise typer.Exit(FAILED)


@app.command()
def explain(
    tool: Tool = None,
    actor: Actor = None,
    item: Item = None,
    call: Call = None,
    args: Args = "{}",
    requester: Requester = None,
    context: Context = "{}",
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """What the policies say to a call: the decision, why, which approvals it needs, who may give them and who not.

    Of a call that is described by --tool and --actor, of what an item asks, or of a recorded call.
    """
    from interlock.cli.inbox import json_object
    from interlock.cli.policies import Question, explained, explained_call, explained_item
    from interlock.cli.session import drive

    if [item is not None, call is not None, tool is not None and actor is not None].count(True) != 1:
        raise typer.BadParameter("give --tool and --actor, or --item, or --call")
    if item is not None:
        work = explained_item(home, policies, item)
    elif call is not None:
        work = explained_call(home, policies, call)
    else:
        given, more = json_object(args, "--args"), json_object(context, "--context")
        work = explained(home, policies, Question(str(tool), str(actor), given, requester, more))
    answer = drive(work)
    emit(answer) if as_json else _print(answer)


@app.command("boundaries")
def show_boundaries(
    tool: Annotated[str | None, typer.Option("--tool", help="Of this tool or other action only.")] = None,
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """What is decided just below, at and just above each numeric limit of the policies.

    Money in minor units. Every limit is tried with a request that satisfies the other conditions and brings no
    approvals; where none was found, that is said.
    """
    from interlock.cli.policies import bounded
    from interlock.cli.session import drive

    found = drive(bounded(home, policies, tool))
    if as_json:
        emit({"boundaries": [{**plain(one), "lifted_by": one.lifted_by} for one in found]})
    else:
        rows = [(b.action, b.policy, b.limit, *_three(b)) for b in found]
        table(("action", "policy", "limit", "1 below", "at it", "1 above"), rows)


def _three(boundary: Any) -> tuple[str, str, str]:
    told = [str(one) if one is not None else "-" for one in (boundary.below, boundary.at, boundary.above)]
    return (boundary.note, "", "") if boundary.note else (told[0], told[1], told[2])


@app.command()
def simulate(
    candidate: Annotated[Path, typer.Option("--candidate", help="The folder or file of policies to try.")],
    since: Annotated[str | None, typer.Option("--since", help="Calls from this time on (ISO 8601).")] = None,
    workflow: Workflow = None,
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """What a candidate set would have decided about the calls of the past: what changes, by workflow, tool and rule.

    Facts, sums and approvals are taken as they were recorded. JSON gives money in minor units.
    """
    from interlock.cli.policies import simulated
    from interlock.cli.session import drive

    found = drive(simulated(home, policies, candidate, since, workflow))
    emit(found) if as_json else _tell(found)


@app.command()
def shadowed(
    since: Annotated[str | None, typer.Option("--since", help="Calls from this time on (ISO 8601).")] = None,
    workflow: Workflow = None,
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Where the set of --shadow would have decided otherwise than what decided, by workflow, tool and rule.

    Each call counts once, as its first difference. JSON gives money in minor units.
    """
    from interlock.cli.policies import shadowed as recorded
    from interlock.cli.session import drive

    found = drive(recorded(home, policies, since, workflow))
    if as_json:
        emit(found)
        return
    versions = ", ".join(f"{version} ({count})" for version, count in found.versions.items()) or "no shadow"
    say(f"shadow {versions}: {found.changed} calls in {found.cases} cases were decided otherwise")
    _tell_changes(found)


def _tell(found: Any) -> None:
    say(f"candidate {found.version}: {found.changed} of {found.calls} calls in {found.cases} cases would change")
    _tell_changes(found)
    for why, count in found.skipped.items():
        say(f"cannot be replayed: {count}: {why}")
    for kind, count in found.outside.items():
        say(f"not replayed: {count}: no policy decided, but {kind}")


def _tell_changes(found: Any) -> None:
    table(("before", "after", "calls", "money"), [_shifted(s) for s in found.outcomes])
    if found.shifts:
        table(("by", "name", "before", "after", "calls", "money"), [(s.by, s.name, *_shifted(s)) for s in found.shifts])
        examples = [(e.case_id, e.effect_key, e.tool, e.before, e.after) for e in found.examples]
        table(("case", "call", "tool", "before", "after"), examples)
        say("why: interlock policy explain --call CALL --policies CANDIDATE; or --json here")


def _shifted(shift: Any) -> tuple[str, str, int, str]:
    from interlock.money import Money

    money = ", ".join(str(Money(amount, currency)) for currency, amount in shift.money.items())
    return shift.before, shift.after, shift.calls, money or "-"


@app.command()
def authority(
    file: Annotated[Path, typer.Argument(help="The matrix, as authority.yaml.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV: the export of an access review.")] = False,
    home: Home = DEFAULT_HOME,
    policies: Policies = None,
    as_json: Json = False,
) -> None:
    """Who may approve what up to how much: the rows of a matrix with the project's people who hold the role.

    JSON and CSV give amounts in minor units.
    """
    from interlock.cli.output import records
    from interlock.cli.session import drive, modelled
    from interlock.money import Money
    from interlock.oversight.authority import Authority, review

    async def work() -> list[dict[str, Any]]:
        matrix = Authority.load(file)
        async with modelled(home, policies=policies) as plane:
            return review(matrix, plane.services.actors.people())

    found = drive(work())
    if as_json or csv:
        (records if csv else emit)(found)
        return
    bounds = ("per_act", "per_day", "per_counterparty", "second_above", "tenant_per_day", "tenant_per_counterparty")
    shown = [{**r, **{b: None if r[b] is None else str(Money(r[b], r["currency"])) for b in bounds}} for r in found]
    table(("row", "person", "role", "action", *bounds), [
        [r[name] for name in ("row", "person", "role", "action", *bounds)] for r in shown
    ])  # fmt: skip


@app.command()
def reload(home: Home = DEFAULT_HOME, by: Who = "", as_json: Json = False) -> None:
    """Let the live engine of a home take its policies as they are now.

    It takes them when they are valid as a whole, else it goes on with those it has, and this ends with 1. A SIGHUP to
    the engine does the same.
    """
    from interlock.cli.policies import reloaded
    from interlock.cli.session import drive

    answer = drive(reloaded(home, by))
    sets = {"policies": answer} | ({"shadow": answer["shadow"]} if "shadow" in answer else {})
    if as_json:
        emit(answer)
    else:
        _tell_taken(sets)
    if not all(one["taken"] for one in sets.values()):
        raise typer.Exit(FAILED)


def _tell_taken(sets: dict[str, Any]) -> None:
    for name, one in sets.items():
        for problem in one["problems"]:
            print(problem)
        say(f"{name}: {'now' if one['taken'] else 'not taken; still'} version {one['version']}")


def _print(answer: dict[str, Any]) -> None:
    print(answer["decision"])
    for policy, text in answer["reasons"]:
        print(f"  {policy}: {text}")
    for authority, count in (answer["need"] or {}).items():
        who = ", ".join(answer["who"].get(authority, [])) or "nobody who is registered"
        print(f"  needs {count} approval{'s' if count > 1 else ''} of {authority}: {who}")
        for person, reasons in answer["who_not"].get(authority, {}).items():
            print(f"    not {person}: {'; '.join(reasons)}")
    if answer["away"]:
        print(f"  on leave: {', '.join(answer['away'])}")
    for past in answer["recorded"]:
        print(f"  {past['at']}: {past['decision']} under version {past['policy_version']}")
    for policy in answer["policies"]:
        print(f"  {policy['effect']} {policy['id']} ({policy['file']}:{policy['line']})")
        for condition in policy["conditions"]:
            print(f"    {_MARKS[condition['holds']]} {condition['text']}{_values(condition['values'])}")


_MARKS = {True: "holds  ", False: "fails  ", None: "unknown"}


def _values(values: dict[str, Any]) -> str:
    return f"   [{', '.join(f'{name} = {value}' for name, value in values.items())}]" if values else ""
