"""Finds the folder of an installed package, which holds a server's program, without importing the package."""

from importlib.util import find_spec
from pathlib import Path

from local.errors import CommandError


def package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise CommandError(f"the package {name} is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0])
