"""The command `interlock`. Commands load what they need when they run, so that `--help` is fast."""

from __future__ import annotations

from typing import Annotated

import typer

from interlock.cli import actors, audit, cases, inbox, policy
from interlock.cli.check import check
from interlock.cli.demo import demo
from interlock.cli.doctor import doctor
from interlock.cli.eval import evaluate
from interlock.cli.map import show_map
from interlock.cli.metrics import metrics
from interlock.cli.problems import Guarded
from interlock.cli.run import run
from interlock.cli.serve import dev, serve
from interlock.cli.switch import switch

app = typer.Typer(
    cls=Guarded,
    name="interlock",
    help="Interlock: an autonomy control plane on LangGraph.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"interlock {version('interlock')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
]


@app.callback()
def interlock(version: Version = False) -> None:
    """Interlock: an autonomy control plane on LangGraph."""


app.command("demo")(demo)
app.command("run")(run)
app.command("dev")(dev)
app.command("serve")(serve)
app.command("check")(check)
app.command("map")(show_map)
app.add_typer(cases.app, name="cases")
app.add_typer(inbox.app, name="inbox")
app.add_typer(inbox.approvals, name="approvals")
app.add_typer(actors.app, name="actors")
app.command("metrics")(metrics)
app.add_typer(audit.app, name="audit")
app.add_typer(policy.app, name="policy")
app.command("switch")(switch)
app.command("eval")(evaluate)
app.command("doctor")(doctor)
