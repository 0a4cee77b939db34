"""The AsyncAPI document is valid by the official schema, and says of every message what is so."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from chassis.message import Envelope, Message
from chassis.service import installed
from tools.asyncapi import document
from tools.contracts import contracts, schema_of

OFFICIAL = Path(__file__).parent / "asyncapi" / "3.0.0.json"

every_contract = pytest.mark.parametrize("contract", contracts(), ids=lambda it: it.wire_type)


@pytest.fixture(scope="module")
def system() -> dict[str, Any]:
    return document()


@pytest.fixture(scope="module")
def official() -> Draft7Validator:
    return Draft7Validator(json.loads(OFFICIAL.read_text()))


def test_it_is_valid(system: dict[str, Any], official: Draft7Validator) -> None:
    assert [error.message for error in official.iter_errors(system)] == []


@pytest.mark.parametrize("without", ["info", "asyncapi"])
def test_the_official_schema_does_refuse(system: dict[str, Any], official: Draft7Validator, without: str) -> None:
    assert not official.is_valid({name: it for name, it in system.items() if name != without})
    assert not official.is_valid(system | {"operations": {"order.sends": {"action": "shout"}}})


@every_contract
def test_a_message_names_owner_key_and_consumers(system: dict[str, Any], contract: type[Message]) -> None:
    message = system["components"]["messages"][contract.wire_type]
    listening = [name for name, it in sorted(installed().items()) if contract.wire_type in it.subscriptions.by_type]
    assert message["x-owner"] == contract.topic.partition(".")[0]
    assert message["x-key"] in contract.model_fields
    assert sorted(message["x-consumers"]) == listening
    assert message["name"] in system["channels"][contract.topic]["messages"]


@every_contract
def test_its_example_fits(system: dict[str, Any], contract: type[Message]) -> None:
    (example,) = system["components"]["messages"][contract.wire_type]["examples"]
    assert contract.model_validate(example["payload"]).key
    Draft202012Validator(schema_of(contract)).validate(example["payload"])


def test_senders_and_receivers_of_every_topic_are_operations(system: dict[str, Any]) -> None:
    described = {
        (operation["x-service"], operation["action"], it["$ref"].rpartition("/")[2])
        for operation in system["operations"].values()
        for it in operation["messages"]
    }
    assert {
        ("order", "send", "product.reserve_stock.v1"),
        ("product", "receive", "product.reserve_stock.v1"),
        ("product", "send", "product.product_changed.v1"),
        ("aggregator", "receive", "product.product_changed.v1"),
    } <= described
    received = {(name, type_) for name, it in installed().items() for type_ in it.subscriptions.by_type}
    assert {(who, what) for who, action, what in described if action == "receive"} == received


def test_its_headers_are_those_of_an_envelope(system: dict[str, Any]) -> None:
    id = UUID(int=1)
    first = Envelope("order.events", "1", id, "order.order_placed.v1", "order", datetime.now(UTC), b"{}", str(id))
    later = Envelope(
        first.topic, first.key, id, first.type, first.source, first.time, first.body, str(id), str(id), "00-1-1-01"
    )
    headers = system["components"]["messageTraits"]["envelope"]["headers"]
    assert set(headers["required"]) == {name for name, _ in first.headers()}
    assert set(headers["properties"]) == {name for name, _ in later.headers()}
    Draft7Validator(headers).validate({name: value.decode() for name, value in later.headers()})
