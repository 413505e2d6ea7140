"""Maps the layer folders into the one import package `interlock`."""

from setuptools import find_packages, setup

LAYERS = [
    "graphs", "agents", "tools", "context", "oversight", "observability", "storage", "server", "evals", "examples",
]  # fmt: skip
FOUND = find_packages(include=[pattern for layer in LAYERS for pattern in (layer, f"{layer}.*")])

setup(
    packages=["interlock", "interlock.cli", *(f"interlock.{name}" for name in FOUND)],
    package_dir={f"interlock.{layer}": layer for layer in LAYERS},
)
