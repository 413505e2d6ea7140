"""A home with the plant in it, made once: each test gets a copy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from shutil import copytree

import pytest

from tests.graphs.workflows.runs import plant


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database, guides and CMMS are there, and no case yet."""

    async def furnish(home: Path) -> None:
        async with plant(home) as plane:
            await plane.ready()

    home = tmp_path_factory.mktemp("plant") / "home"
    asyncio.run(furnish(home))
    return home


@pytest.fixture
def home(furnished: Path, tmp_path: Path) -> Path:
    return Path(copytree(furnished, tmp_path / "home"))
