"""The whole system as an AsyncAPI 3 document: topics, messages, their senders and their receivers."""

from importlib.metadata import version
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from pydantic.json_schema import models_json_schema

from chassis.config import Settings
from chassis.message import Command, Event, Message
from tools.compatibility import Schema
from tools.contracts import Untitled, contracts
from tools.system_map import by_layer, messages, owner_of, senders_and_receivers

Json = dict[str, Any]

# CloudEvents in binary mode, as `Envelope.headers` writes them: https://github.com/cloudevents/spec
HEADERS = {
    "ce_specversion": {"const": "1.0"},
    "ce_id": {"format": "uuid", "description": "The id of this message. A consumer that has handled it ignores it."},
    "ce_type": {"description": "The name of the message, such as order.order_placed.v1."},
    "ce_source": {"description": "The service that sent it."},
    "ce_subject": {"description": "The key. Messages with one key arrive in order."},
    "ce_time": {"format": "date-time"},
    "content-type": {"const": "application/json"},
    "ce_correlationid": {"description": "The same for all messages that follow from one request."},
    "ce_causationid": {"description": "The id of the message that caused this one."},
    "traceparent": {"description": "The position in a trace: W3C Trace Context."},
}
OPTIONAL = {"ce_causationid", "traceparent"}

ENVELOPE = {
    "contentType": "application/json",
    "headers": {
        "type": "object",
        "properties": {name: {"type": "string", **it} for name, it in HEADERS.items()},
        "required": [name for name in HEADERS if name not in OPTIONAL],
    },
    "correlationId": {"location": "$message.header#/ce_correlationid"},
}


def document() -> Json:
    _, definitions = models_json_schema(
        [(it, "validation") for it in contracts()],
        ref_template="#/components/schemas/{model}",
        schema_generator=Untitled,
    )
    schemas = definitions["$defs"]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Agora",
            "version": version("shared"),
            "description": "The commands and events between the services. Written by `make generated`.",
        },
        "defaultContentType": "application/json",
        "servers": servers(),
        "channels": channels(),
        "operations": operations(),
        "components": {
            "messages": {it.wire_type: message(it, schemas) for it in contracts()},
            "messageTraits": {"envelope": ENVELOPE},
            "schemas": schemas,
        },
    }


def servers() -> Json:
    """The two brokers, at the addresses that `make run` gives them; a system has one of them."""
    fields = Settings.model_fields
    kafka, pulsar = (str(fields[name].default) for name in ("kafka_bootstrap_servers", "pulsar_url"))
    return {
        "kafka": {"host": kafka, "protocol": "kafka", "description": "Apache Kafka (BROKER=kafka)"},
        "pulsar": {
            "host": pulsar.removeprefix("pulsar://"),
            "protocol": "pulsar",
            "description": "Apache Pulsar instead (BROKER=pulsar)",
        },
    }


def topics() -> dict[str, list[type[Message]]]:
    """The messages of each topic in the order of their contracts, experience first."""
    kinds = [messages(kind, service.name) for service in by_layer() for kind in (Command, Event)]
    return {inside[0].topic: inside for inside in kinds if inside}


def channels() -> Json:
    return {
        topic: {
            "address": topic,
            "description": f"The {inside[0].kind} of {owner_of(inside[0])}.",
            "messages": {it.wire_type: {"$ref": f"#/components/messages/{it.wire_type}"} for it in inside},
            "x-owner": owner_of(inside[0]),
        }
        for topic, inside in topics().items()
    }


def operations() -> Json:
    """The messages that each service sends to a topic, and those that it receives from it."""
    found: Json = {}
    for topic, inside in topics().items():
        for it in inside:
            for action, services in zip(("send", "receive"), senders_and_receivers(it), strict=True):
                for service in services:
                    operation = found.setdefault(
                        f"{service}.{action}s.{topic}",
                        {
                            "action": action,
                            "channel": {"$ref": f"#/channels/{topic}"},
                            "messages": [],
                            "x-service": service,
                        },
                    )
                    operation["messages"].append({"$ref": f"#/channels/{topic}/messages/{it.wire_type}"})
    return found


def message(it: type[Message], schemas: Schema) -> Json:
    producers, consumers = senders_and_receivers(it)
    return {
        "name": it.wire_type,
        "title": it.__name__,
        "description": " ".join(str(it.__doc__).split()),
        "tags": [{"name": owner_of(it)}, {"name": it.kind}],
        "traits": [{"$ref": "#/components/messageTraits/envelope"}],
        "payload": {"$ref": f"#/components/schemas/{it.__name__}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": it.key_field}, "bindingVersion": "0.5.0"}},
        "examples": [{"payload": example(schemas[it.__name__], schemas)}],
        "x-owner": owner_of(it),
        "x-key": it.key_field,
        "x-producers": producers,
        "x-consumers": consumers,
    }


def example(schema: Schema, definitions: Schema, name: str = "") -> Any:
    """A value that the schema allows, the same every time; fields of one name have one id."""
    match schema:
        case {"$ref": ref}:
            return example(definitions[ref.rpartition("/")[2]], definitions, name)
        case {"anyOf": [first, *_]}:
            return example(first, definitions, name)
        case {"const": value} | {"enum": [value, *_]}:
            return value
        case {"type": "object", "properties": properties}:
            return {field: example(it, definitions, field) for field, it in properties.items()}
        case {"type": "array", "items": items}:
            return [example(items, definitions, name.removesuffix("s"))]
        case {"type": "string", "format": "uuid"}:
            return str(uuid5(NAMESPACE_DNS, name))
        case {"type": "string", "format": "date-time"}:
            return "2026-02-28T12:00:00Z"
        case {"type": "integer"}:
            return 1990 if name.endswith("_cents") else schema.get("minimum", 1)
        case {"type": "boolean"}:
            return bool(schema.get("default"))
        case {"type": "string"}:
            return "EUR" if name == "currency" else name.replace("_", " ")
    raise TypeError(f"no example of {name}: {schema}")
