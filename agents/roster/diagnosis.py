"""Diagnosis: which failure code an event stands for, how sure that is, and which past work orders say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from interlock import errors

if TYPE_CHECKING:
    from interlock.agents.runtime import Call

__all__ = ["THRESHOLD", "Basis", "Diagnosis", "conclude", "diagnose"]

THRESHOLD = 0.5  # below it a person looks
CITED = 5

Basis = Literal["mapping", "asset", "fleet", "none", "withheld"]
_BASE = {"asset": 0.75, "fleet": 0.65}  # a single mapping is surer, no history at all is less sure
_SINGLE, _NONE, _WITHHELD = 0.97, 0.55, 0.4


class Diagnosis(BaseModel):
    """`basis` says what decided: a mapping to one code, history of the asset, of all assets, none, or none readable."""

    code: str
    code_name: str
    confidence: float = Field(ge=0, le=1)
    basis: Basis
    evidence: list[str]
    cited: list[str]


def settles(history: Mapping[str, Any] | None) -> bool:
    """Whether past work orders name any of the codes."""
    return history is not None and any(history["counts"].values())


def conclude(
    asset: str, rule: str, codes: Sequence[str], histories: Mapping[Literal["asset", "fleet"], Mapping[str, Any] | None]
) -> tuple[str, float, Basis, list[str], list[str]]:
    """The code, confidence, basis, evidence and cited work orders, from the mapped codes and the histories read.

    A single code stands. Else the asset's past work orders decide, else those of all assets, else the mapping's first
    row. A history that could not be read is None and lowers confidence.
    """
    evidence = [f"rule {rule} maps to {', '.join(codes)}"]
    if len(codes) == 1:
        return codes[0], _SINGLE, "mapping", evidence, []
    for basis in ("asset", "fleet"):
        history = histories.get(basis)
        if history is not None and settles(history):
            return _weigh(asset, codes, basis, history, evidence)
    whose = f"past work order of {asset} or of any other asset"
    if any(history is None for history in histories.values()):
        evidence.append(f"the history was withheld, so the mapping's first row is taken: {codes[0]}")
        return codes[0], _WITHHELD, "withheld", evidence, []
    evidence.append(f"no {whose} names one of them, so the mapping's first row is taken: {codes[0]}")
    return codes[0], _NONE, "none", evidence, []


def _weigh(
    asset: str, codes: Sequence[str], basis: Literal["asset", "fleet"], history: Mapping[str, Any], evidence: list[str]
) -> tuple[str, float, Basis, list[str], list[str]]:
    """The code named most often; between equals the earlier row of the mapping. Clearer majorities are surer."""
    counts: Mapping[str, int] = history["counts"]
    best = max(codes, key=lambda code: (counts[code], -codes.index(code)))
    rest = max(counts[code] for code in codes if code != best)
    cited = list(history["cited"][best])
    named = ", ".join(f"{code} {counts[code]} times" for code in codes)
    whose = asset if basis == "asset" else f"all assets, as those of {asset} name none of them"
    evidence.append(f"past work orders of {whose}: {named}; {best} in {', '.join(cited)}")
    if rest == counts[best]:
        evidence.append(f"they are equal, so the earlier row of the mapping is taken: {best}")
    lead = (counts[best] - rest) / (counts[best] + rest + 1)
    return best, round(_BASE[basis] + 0.2 * lead, 3), basis, evidence, cited


async def diagnose(state: Mapping[str, Any], call: Call) -> Diagnosis:
    """Read as much history as the decision needs, and conclude."""
    codes, names = list(state["codes"]), list(state["code_names"])
    histories: dict[Literal["asset", "fleet"], Mapping[str, Any] | None] = {}
    if len(codes) > 1:
        histories["asset"] = await _read(call, {**_query(state), "asset": state["asset"]})
        if not settles(histories["asset"]):
            histories["fleet"] = await _read(call, _query(state))
    code, confidence, basis, evidence, cited = conclude(state["asset"], state["rule"], codes, histories)
    name = names[codes.index(code)]
    return Diagnosis(code=code, code_name=name, confidence=confidence, basis=basis, evidence=evidence, cited=cited)


def _query(state: Mapping[str, Any]) -> dict[str, Any]:
    return {"codes": list(state["codes"]), "before": state["start_time"], "limit": CITED}


async def _read(call: Call, query: dict[str, Any]) -> Mapping[str, Any] | None:
    """The history, or None where a policy withholds it: less evidence, so less confidence, not a failure."""
    try:
        history: Mapping[str, Any] = await call("cmms.history", query)
    except errors.Denied:
        return None
    return history
