"""All messages of an order, joined from the message logs of all services, and printed as a tree."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from cli._system import ServiceGroup

MAX_IDS = 1000  # that a service accepts in one request

Message = dict[str, Any]


def build_trace(order_id: str, services: ServiceGroup) -> list[Message]:
    """The messages in causal order: each comes after its cause, with its `depth` in the tree.

    `handled` has an entry for each consumer (`by`): its state is "handled" with the time `at`, "dead-lettered" with a
    `reason`, or "waiting".
    """
    own = _flatten(services.request("GET", "messages", params={"key": order_id}))
    correlations = sorted({it["correlation_id"] for it in own})
    related = _flatten(services.request("GET", "messages", params={"correlation_id": correlations})) if own else []
    trace = _order_by_cause(order_id, {it["id"]: it for it in [*own, *related]})
    _add_handled(trace, services)
    return trace


def _flatten(answers: dict[str, list[Message]]) -> list[Message]:
    return [message for messages in answers.values() for message in messages]


def _order_by_cause(order_id: str, messages: dict[str, Message]) -> list[Message]:
    """The messages with the order's key, their causes and their effects. Others of one correlation are left out."""
    effects: dict[str | None, list[Message]] = defaultdict(list)
    for it in sorted(messages.values(), key=lambda it: (_moment(it["time"]), it["position"])):
        effects[it["causation_id"] if it["causation_id"] in messages else None].append(it)
    for siblings in effects.values():  # of messages sent together, those without effects come first
        siblings.sort(key=lambda it: (_moment(it["time"]), it["id"] in effects))
    trace: list[Message] = []

    def add(message: Message, depth: int, belongs: bool) -> bool:
        """Add a message and its effects, if any of them is the order's."""
        belongs = belongs or message["key"] == order_id
        place = len(trace)
        below = [add(it, depth + 1, belongs) for it in effects[message["id"]]]
        if belongs or any(below):
            trace.insert(place, message | {"depth": depth})
        return belongs or any(below)

    for it in effects[None]:
        add(it, 0, False)
    return trace


def _add_handled(messages: list[Message], services: ServiceGroup) -> None:
    for it in messages:
        it["handled"] = []
    for start in range(0, len(messages), MAX_IDS):
        page = messages[start : start + MAX_IDS]
        for name, answer in services.request("POST", "messages/handled", json=[it["id"] for it in page]).items():
            received = {it["id"]: it for it in answer["messages"]}
            for message in page:
                if message["id"] in received:
                    message["handled"].append({"by": name} | _handling(received[message["id"]]))
                elif message["type"] in answer["subscribes"]:
                    message["handled"].append({"by": name, "state": "waiting"})


def _handling(received: Message) -> Message:
    reason = received["dead_lettered"]
    state = {"state": "dead-lettered", "reason": reason} if reason else {"state": "handled"}
    return state | {"at": received["received_at"]}


def format_trace(messages: list[Message], no_consumer: str = "no consumer") -> Iterator[str]:
    """A line for each message, indented under its cause, with milliseconds since the first message."""
    start = min(_moment(it["time"]) for it in messages)

    def since(moment: str) -> str:
        return f"{(_moment(moment) - start).total_seconds() * 1000:.0f} ms"

    width = max(it["depth"] * 2 + len(it["type"]) for it in messages)
    for it in messages:
        indented = "  " * it["depth"] + it["type"]
        consumers = [_format_handling(handling, since) for handling in it["handled"]]
        if it["published_at"] is None:
            consumers.insert(0, f"waits in the outbox of {it['source']}")
        yield f"{since(it['time']):>11}  {it['source']:12} {indented:{width}}  → {', '.join(consumers) or no_consumer}"


def _format_handling(handling: Message, since: Callable[[str], str]) -> str:
    if handling["state"] == "handled":
        return f"{handling['by']} {since(handling['at'])}"
    if handling["state"] == "dead-lettered":
        return f"{handling['by']} DEAD LETTER ({handling['reason']})"
    return f"{handling['by']} not yet"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
