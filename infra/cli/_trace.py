"""All messages of an order, put together from what each service remembers, and written as a tree."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from cli._system import ServiceGroup

MOST_IDS = 1000  # in one question

Message = dict[str, Any]


def trace_of(order_id: str, services: ServiceGroup) -> list[Message]:
    """The messages in causal order: each comes after its cause, with its `depth` below the first.

    `handled` says of each service that is to handle it: "handled" with `at`, "parked" with `reason`, or "waiting".
    """
    own = _listed(services.ask("GET", "messages", params={"key": order_id}))
    correlations = sorted({it["correlation_id"] for it in own})
    related = _listed(services.ask("GET", "messages", params={"correlation_id": correlations})) if own else []
    found = _connected(order_id, {it["id"]: it for it in [*own, *related]})
    _add_handled(found, services)
    return found


def _listed(answers: dict[str, list[Message]]) -> list[Message]:
    return [message for its in answers.values() for message in its]


def _connected(order_id: str, messages: dict[str, Message]) -> list[Message]:
    """The messages with the order's key, what caused them, and what they caused; others may share a correlation."""
    caused: dict[str | None, list[Message]] = defaultdict(list)
    for it in sorted(messages.values(), key=lambda it: (_moment(it["time"]), it["position"])):
        caused[it["causation_id"] if it["causation_id"] in messages else None].append(it)
    for siblings in caused.values():  # of those sent together, what ends here comes before what goes on
        siblings.sort(key=lambda it: (_moment(it["time"]), it["id"] in caused))
    kept: list[Message] = []

    def walk(message: Message, depth: int, belongs: bool) -> bool:
        """Add a message and what it caused, if any of that is the order's."""
        belongs = belongs or message["key"] == order_id
        place = len(kept)
        below = [walk(it, depth + 1, belongs) for it in caused[message["id"]]]
        if belongs or any(below):
            kept.insert(place, message | {"depth": depth})
        return belongs or any(below)

    for it in caused[None]:
        walk(it, 0, False)
    return kept


def _add_handled(messages: list[Message], services: ServiceGroup) -> None:
    for it in messages:
        it["handled"] = []
    for start in range(0, len(messages), MOST_IDS):
        some = messages[start : start + MOST_IDS]
        for name, answer in services.ask("POST", "messages/handled", json=[it["id"] for it in some]).items():
            known = {it["id"]: it for it in answer["messages"]}
            for message in some:
                if (came_in := known.get(message["id"])) is not None:
                    message["handled"].append({"by": name} | _state(came_in))
                elif message["type"] in answer["subscribes"]:
                    message["handled"].append({"by": name, "state": "waiting"})


def _state(came_in: Message) -> Message:
    parked = {"state": "parked", "reason": came_in["parked"]}
    return (parked if came_in["parked"] else {"state": "handled"}) | {"at": came_in["received_at"]}


def lines(messages: list[Message], nobody: str = "nobody") -> Iterator[str]:
    """A line for each message, indented under its cause, with milliseconds since the first."""
    start = min(_moment(it["time"]) for it in messages)

    def since(moment: str) -> str:
        return f"{(_moment(moment) - start).total_seconds() * 1000:.0f} ms"

    width = max(it["depth"] * 2 + len(it["type"]) for it in messages)
    for it in messages:
        named = "  " * it["depth"] + it["type"]
        how = [_how(handling, since) for handling in it["handled"]]
        if it["published_at"] is None:
            how.insert(0, f"waits in the outbox of {it['source']}")
        yield f"{since(it['time']):>11}  {it['source']:12} {named:{width}}  → {', '.join(how) or nobody}"


def _how(handling: Message, since: Callable[[str], str]) -> str:
    if handling["state"] == "handled":
        return f"{handling['by']} {since(handling['at'])}"
    if handling["state"] == "parked":
        return f"{handling['by']} PARKED ({handling['reason']})"
    return f"{handling['by']} not yet"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
