"""The project of the guest tests: the office, with `buying`, on whatever plane it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from interlock import ControlPlane, Money
from tests.graphs.office import Erp, fill

ERP = Erp()


@asynccontextmanager
async def setup(plane: ControlPlane, reference: Path | None = None) -> AsyncIterator[None]:
    fill(plane, ERP)
    plane.register_tool(ERP.stock, name="real.stock", effect="write", money=lambda args: Money(1, "EUR"))
    yield
