"""Whether requirements.lock has a version for every requirement of every pyproject.toml; works without a network."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"^([a-z0-9-]+)==([^ ;]+)", re.MULTILINE)
ADDRESS = re.compile(r"^.*(://| @ |^-e ).*$", re.MULTILINE)


def unmet_requirements(root: Path) -> Iterator[str]:
    lock = (root / "requirements.lock").read_text()
    for line in ADDRESS.finditer(lock):
        yield f"the lock names an address: {line[0].strip()}"
    pins = dict(PIN.findall(lock))
    pending = list(direct_requirements(root))
    seen: set[str] = set()
    while pending:
        who, requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if pins.get(name) is None or not requirement.specifier.contains(pins[name], prereleases=True):
            yield f"{who} requires {requirement}, the lock has {pins.get(name, 'none')}"
        elif str(requirement) not in seen:
            seen.add(str(requirement))
            pending += indirect_requirements(name, requirement.extras)


def direct_requirements(root: Path) -> Iterator[tuple[str, Requirement]]:
    """What our own projects require of other packages."""
    paths = [path for pattern in ("", "*/", "services/*/") for path in sorted(root.glob(f"{pattern}pyproject.toml"))]
    projects = {str(path.relative_to(root)): tomllib.loads(path.read_text()) for path in paths}
    own = {project["project"]["name"] for project in projects.values() if "project" in project}
    for path, project in projects.items():
        required = [
            *project.get("project", {}).get("dependencies", ()),
            *project.get("dependency-groups", {}).get("dev", ()),
        ]
        yield from ((path, requirement) for requirement in map(Requirement, required) if requirement.name not in own)


def indirect_requirements(name: str, extras: set[str]) -> Iterator[tuple[str, Requirement]]:
    """What an installed package requires of others, on this system and with these extras."""
    for requirement in map(Requirement, requires(name) or ()):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield name, requirement


if __name__ == "__main__":
    found = sorted(set(unmet_requirements(Path.cwd())))
    sys.stdout.writelines(f"{line}; run `make lock`\n" for line in found)
    sys.exit(bool(found))
