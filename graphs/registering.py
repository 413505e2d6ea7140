"""What registering means: a graph on the plane's checkpointer, code as actors, gates as actions, policies bound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Any

from langgraph.graph import StateGraph
from pydantic import TypeAdapter

from interlock import errors
from interlock.agents.agent import Agent
from interlock.graphs.adhoc import ADHOC
from interlock.graphs.allowlist import allowlist
from interlock.graphs.compiled import GovernedGraph
from interlock.graphs.governed import Governed, governed, governs
from interlock.graphs.registry import Registered, Registry
from interlock.graphs.services import Services
from interlock.graphs.state import channels
from interlock.graphs.task import ApprovalSpec
from interlock.graphs.workflow import Workflow
from interlock.ids import digest
from interlock.observability.ledger import Event
from interlock.oversight.actions import ActionSpec, Request
from interlock.oversight.actors import Actor, Person
from interlock.oversight.inbox import Item
from interlock.oversight.policy import Edition, Policies, Problem
from interlock.tools.untrusted import untrusted_fields

__all__ = ["bind_policies", "compile_for", "raise_problems", "register_code_agents", "tell_edition", "told"]


def compile_for(thing: Any, services: Services, options: Mapping[str, Any]) -> tuple[Workflow, GovernedGraph]:
    """The workflow of what was given, and its graph on the plane's checkpointer.

    Raises ConfigurationError for what is no workflow, and for graphs that would bypass the gateway; Conflict when
    another action has the name of a gate.
    """
    if isinstance(thing, StateGraph) and not isinstance(thing, Workflow):
        thing, options = governed(thing, **_named(options)), {}
    if options:
        raise errors.ConfigurationError(f"{sorted(options)} belong to a plain StateGraph", "set them on the workflow")
    if isinstance(thing, Governed):
        thing = thing.workflow(services.tools)
    graph = thing if isinstance(thing, GovernedGraph) else thing.compile() if isinstance(thing, Workflow) else None
    if graph is None:
        raise errors.ConfigurationError(f"{thing!r} is no workflow", "give a Workflow, its graph, or a governed graph")
    if graph.workflow.name == ADHOC:
        raise errors.Conflict(f"{ADHOC!r} is the workflow of calls from outside", "choose another name")
    services.tools.reserve(gate.action for gate in graph.workflow.approvals.values())
    saver = services.saver.with_allowlist(allowlist(_schemas(graph.workflow)))
    return graph.workflow, graph.copy(update={"checkpointer": saver})


def _named(options: Mapping[str, Any]) -> Mapping[str, Any]:
    if "name" not in options:
        raise errors.ConfigurationError("a plain StateGraph has no name", "write plane.register(graph, name=...)")
    known = signature(governed).parameters
    if unknown := sorted(options.keys() - known):
        raise errors.ConfigurationError(f"register takes no {', '.join(unknown)}", f"it takes {', '.join(known)}")
    return options


def _schemas(workflow: Workflow) -> Iterable[Any]:
    yield from workflow.schemas
    yield from (task.output for task in workflow.tasks.values() if task.output is not None)
    yield from (channel.ValueType for channel in workflow.channels.values())


def register_code_agents(workflow: Workflow, services: Services) -> None:
    """Code tasks act as agents of their own; several versions of a task are one agent with the scopes of all."""
    for agent in [*_code_agents(workflow), *governs(workflow)]:
        if agent.id in services.code_actors:
            known = services.actors.get(agent.id)
            known.skills |= agent.skills
            known.scopes |= agent.scopes
            known.roles |= agent.roles
        else:
            services.actors.register(agent)
            services.code_actors.add(agent.id)


def _code_agents(workflow: Workflow) -> list[Agent]:
    return [
        Agent(
            task.code_actor.removeprefix("agent:"),
            skills={task.skill},
            scopes=set(task.scopes),
            roles=set(task.roles),
            run=task.run,
            owner=workflow.owner,
        )
        for task in workflow.tasks.values()
        if task.run is not None
    ]


def bind_policies(services: Services, registry: Registry) -> None:
    """Bind the policies to what is registered, and tell the lower layers what only the registrations know."""
    entries, actors = registry.all(), list(services.actors)
    gates = {gate.action: _action(services, e, gate) for e in entries for gate in e.workflow.approvals.values()}
    roles = {role for actor in actors for role in actor.all_roles}
    authorities = {name for actor in actors if isinstance(actor, Person) for name in actor.authorities}
    authorities |= {gate.authority for e in entries for gate in e.workflow.approvals.values()}
    services.policies.bind([*services.tools.actions(), *gates.values()], roles, authorities)
    _connect(services, registry)


def told(services: Services, tenant: str) -> list[Event]:
    """Under which policies, and with which actors, the events that follow happen; the ledger keeps each once."""
    policies, event = services.policies, services.ledger.event
    first = event("policy.loaded", tenant=tenant, data=_loaded(policies), identity=f"policy:{policies.version}")
    described = [_described(actor) for actor in services.actors]
    return [
        first,
        *_told_shadow(services, tenant),
        *(event("actor.registered", tenant=tenant, data=d, identity=f"actor:{digest(d)}") for d in described),
    ]


async def tell_edition(services: Services, tenant: str, policies: Policies, edition: Edition, by: str) -> None:
    """Record that another edition decides, or stands in the shadow, from here on, and at whose word."""
    data = {**_loaded(edition), "previous": policies.version, **_aside(policies, services)}
    await services.ledger.record(services.ledger.event("policy.loaded", tenant=tenant, actor=by, data=data))


def _told_shadow(services: Services, tenant: str) -> list[Event]:
    shadow = services.policies.shadow
    if shadow is None:
        return []
    data = {**_loaded(shadow), **_aside(shadow, services)}
    return [services.ledger.event("policy.loaded", tenant=tenant, data=data, identity=f"shadow:{shadow.version}")]


def _aside(policies: Policies, services: Services) -> dict[str, Any]:
    return {"shadow": True} if policies is services.policies.shadow else {}


def _loaded(policies: Policies | Edition) -> dict[str, Any]:
    return {"version": policies.version, "files": sorted(policies.files)}


def _described(actor: Actor) -> dict[str, Any]:
    """What policies and the router see of an actor."""
    authorities = actor.authorities if isinstance(actor, Person) else {}
    return {
        "id": actor.id, "roles": sorted(actor.roles), "skills": sorted(actor.skills), "scopes": sorted(actor.scopes),
        "owner": actor.owner, "authorities": {name: str(limit) for name, limit in sorted(authorities.items())},
    }  # fmt: skip


def raise_problems(policies: Policies) -> None:
    """Raises PolicyError that names the first problem, of the set or of its shadow, by file and line."""
    _raise_first(policies.edition.problems, "", "see `interlock policy check`; until then every call is denied")
    if policies.shadow is not None:
        hint = "see `interlock policy check --policies` for it; the policies that decide are not touched"
        _raise_first(policies.shadow.edition.problems, "the shadow is invalid: ", hint)


def _raise_first(problems: Sequence[Problem], what: str, hint: str) -> None:
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise errors.PolicyError(f"{what}{problems[0]}{more}", hint)


def _action(services: Services, entry: Registered, gate: ApprovalSpec) -> ActionSpec:
    """The action of a gate; its arguments are the fields it shows."""
    hints = channels(entry.workflow.schema)
    shown = {name: TypeAdapter(hints[name]).json_schema() for name in gate.show if name in hints}
    return ActionSpec(gate.action, "gate", args={"type": "object", "properties": shown})


def _connect(services: Services, registry: Registry) -> None:
    gateway, inbox, actors = services.gateway, services.inbox, services.actors

    def owner_of(workflow: str) -> str:
        entry = registry.latest().get(workflow)
        return entry.workflow.owner if entry is not None else ""

    def digest_of(item: Item, args: Mapping[str, Any]) -> str:
        return gateway.digest_of(_editable(item), args)

    def request_of(item: Item, args: Mapping[str, Any]) -> Request | None:
        return gateway.request_of(_editable(item), args)

    def untrusted_input(workflow: str, version: str) -> Iterable[tuple[str, ...]]:
        entry = registry.find(workflow, version)
        return untrusted_fields(entry.workflow.input_type or entry.workflow.schema) if entry is not None else ()

    def granted(asker: Any, labels: frozenset[str]) -> Iterable[str]:
        held = {f"actor:{asker.id}", *(f"role:{role}" for role in asker.all_roles)}
        asked = {"held": sorted(held)}
        return [one for one in labels if services.verdict("context.read", asker, {**asked, "labels": [one]}).allowed]

    inbox.owner_of, inbox.digest_of, inbox.request_of = owner_of, digest_of, request_of
    gateway.judge.provenance.untrusted_input = untrusted_input
    services.context.resolve = lambda actor_id: actors.get(actor_id) if actor_id in actors else None
    services.context.grants = granted


def _editable(item: Item) -> Item:
    """A gate approves what the flow has come to; another action would have to come from the flow."""
    if item.gate:
        raise errors.InputError(f"{item.id} is a gate of the flow and cannot be edited", "approve, reject or respond")
    return item
