"""The map of the system, from contracts, subscriptions and sources: which service commands, informs and calls which."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from chassis.calls import Api, Layer
from chassis.message import Command, Event, Message
from chassis.service import Service, installed

ARROWS = {"command": "-->", "event": "-.->", "call": "==>"}


def contract(name: str) -> ModuleType:
    return import_module(f"contracts.{name}")


def messages(kind: type[Message], owner: str) -> list[type[Message]]:
    """The commands that a service obeys, or the events that it announces, in the order of its contract."""
    members = vars(contract(owner)).values()
    return [
        it for it in members if isinstance(it, type) and issubclass(it, kind) and it.wire_type.startswith(f"{owner}.")
    ]


def owner_of(message: type[Message]) -> str:
    return message.wire_type.partition(".")[0]


@cache
def senders() -> dict[str, list[str]]:
    """The services whose source names a command, by the command's name."""
    found = defaultdict(list)
    for service in installed():
        for name in sorted(names_used_by(service)):
            found[name].append(service)
    return found


def names_used_by(service: str) -> set[str]:
    sources = Path(str(import_module(service).__file__)).parent.glob("**/*.py")
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def subscribers(message: type[Message]) -> list[str]:
    return [name for name, service in installed().items() if message.wire_type in service.subscriptions.by_type]


def senders_and_receivers(message: type[Message]) -> tuple[list[str], list[str]]:
    """The services that send a message to others, and those that handle it."""
    if issubclass(message, Command):
        return [who for who in senders()[message.__name__] if who != owner_of(message)], [owner_of(message)]
    return [owner_of(message)], subscribers(message)


def edges() -> Iterator[tuple[str, str, str, str]]:
    """Source, target, kind of arrow, and label."""
    sent = senders()
    for service in by_layer():
        for command in messages(Command, service.name):
            yield from (
                (who, service.name, "command", command.__name__)
                for who in sent[command.__name__]
                if who != service.name
            )
        for event in messages(Event, service.name):
            yield from (
                (service.name, who, "event", event.__name__) for who in subscribers(event) if who != service.name
            )
        yield from ((service.name, api.name, "call", "HTTP") for api in service.calls)


def by_layer() -> list[Service]:
    """The services from the experience layer down."""
    return sorted(installed().values(), key=lambda service: (-service.api.layer, service.name))


def diagram() -> str:
    grouped: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for source, target, kind, label in edges():
        grouped[source, target, kind].append(label)
    lines = ["```mermaid", "flowchart TB"]
    for layer in sorted(Layer, reverse=True):
        inside = [service.name for service in by_layer() if service.api.layer == layer]
        lines += [f"  subgraph {layer.name.lower()}", *[f"    {name}" for name in inside], "  end"]
    for (source, target, kind), labels in grouped.items():
        lines.append(f"  {source} {ARROWS[kind]}|{'<br>'.join(labels)}| {target}")
    return "\n".join([*lines, "```"])


def services() -> str:
    """The table of services, as Markdown."""
    lines = ["| service | layer | owns | obeys | announces |", "|---|---|---|---|---|"]
    for service in by_layer():
        api: Api = service.api
        obeys, announces = (", ".join(it.__name__ for it in messages(kind, api.name)) for kind in (Command, Event))
        owns = str(contract(api.name).__doc__).partition(": ")[2].partition(". ")[0]
        lines.append(f"| {api.name} | {api.layer.name.lower()} | {owns} | {obeys} | {announces} |")
    return "\n".join(lines)
