"""What a client author may rely on in every OpenAPI document: names, texts, errors, headers, fields."""

import re
from collections import defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chassis.service import installed
from chassis.web.docs import problems
from chassis.web.openapi import Audience, audiences_of, document
from tools.references import errors_page

Json = dict[str, Any]
DOCUMENTS = {
    f"{service.name}.{audience}": document(service, audience)
    for service in installed().values()
    for audience in audiences_of(service)
}
# Fields that need no description: their name says what they are, and their type how they are written.
OBVIOUS = {
    *(
        "id",
        "name",
        "email",
        "street",
        "postcode",
        "city",
        "role",
        "description",
        "category",
        "lines",
        "order",
        "step",
        "at",
    ),
    *("status", "state", "totals", "placed_at", "changed_at", "started_at", "completed_at", "requested_at"),
}
VERBS = {
    *("add", "adjust", "cancel", "change", "check", "confirm", "delete", "erase", "export", "get", "grant", "issue"),
    *("list", "place", "put", "receive", "refresh", "register", "remove", "request", "reset", "resume", "return"),
    *("revoke", "rotate", "set", "start", "stream", "unsubscribe", "withdraw"),
}


def _is_obvious(field: str) -> bool:
    return field in OBVIOUS or field.endswith("_id")


every_document = pytest.mark.parametrize("described", DOCUMENTS.values(), ids=DOCUMENTS)


def operations(described: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def responses(described: Json, operation: Json) -> Iterator[tuple[int, Json]]:
    for status, response in operation["responses"].items():
        if "$ref" in response:
            response = described["components"]["responses"][response["$ref"].rpartition("/")[2]]
        yield int(status), response


@every_document
def test_an_operation_has_a_tag_a_summary_a_description_and_a_name(described: Json) -> None:
    wrong, names = [], [operation["operationId"] for _, operation in operations(described)]
    for place, operation in operations(described):
        name, summary = operation["operationId"], operation["summary"]
        (tag,) = operation["tags"]
        if not next(it for it in described["tags"] if it["name"] == tag).get("description"):
            wrong.append(f"{place}: the tag {tag} has no description")
        if names.count(name) > 1 or not re.fullmatch("[a-z]+(_[a-z]+)+", name) or name.split("_")[0] not in VERBS:
            wrong.append(f"{place}: {name} is not verb and object, or is not unique")
        if summary == name.replace("_", " ").title() or not 5 < len(summary) < 80 or summary.endswith("."):
            wrong.append(f"{place}: the summary {summary!r} says no more than the name, or is too long")
        if operation["description"].removesuffix(".") == summary:
            wrong.append(f"{place}: there is no description beside the summary")
    assert not wrong, "\n".join(wrong)


@every_document
def test_a_document_says_where_the_service_is_and_who_may_call_it(described: Json) -> None:
    assert all(it["description"] for it in described["servers"])
    assert {"title", "version", "description", "license"} <= described["info"].keys()
    for place, operation in operations(described):
        statuses = {status for status, _ in responses(described, operation)}
        schemes = {name: roles for it in operation["security"] for name, roles in it.items()}
        assert schemes.keys() <= described["components"].get("securitySchemes", {}).keys(), place
        assert {401} & statuses or not schemes, f"{place}: 401 is not documented"
        assert {403} & statuses or not any(schemes.values()), f"{place}: 403 is not documented"


@every_document
def test_each_response_says_what_it_is(described: Json) -> None:
    wrong = []
    for place, operation in operations(described):
        for status, response in responses(described, operation):
            if response["description"] in ("", "Successful Response", HTTPStatus(status).phrase):
                wrong.append(f"{place}: {status} has no description")
            if status in (429, 503) and "Retry-After" not in response.get("headers", {}):
                wrong.append(f"{place}: {status} has no Retry-After")
            for header, it in response.get("headers", {}).items():
                if not it.get("description"):
                    wrong.append(f"{place}: the header {header} has no description")
    assert not wrong, "\n".join(wrong)


@every_document
def test_each_code_is_on_the_page_of_errors(described: Json) -> None:
    page, wrong = errors_page(), []
    for place, operation in operations(described):
        for status, response in responses(described, operation):
            if status < 400:
                continue
            examples = response["content"]["application/problem+json"]["examples"]
            assert examples, f"{place}: {status} names no code"
            wrong += [
                f"{place}: {code}"
                for code, it in examples.items()
                if it["value"]["status"] != status or f'<a id="{code}">' not in page
            ]
    assert wrong == []


def test_a_code_has_one_status() -> None:
    errors_page()  # imports every problem
    statuses = defaultdict(set)
    for problem in problems():
        statuses[problem.code].add(problem.status)
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}


@every_document
def test_a_schema_has_a_plain_name_and_is_used(described: Json) -> None:
    text = str(described)
    wrong = [name for name in described["components"]["schemas"] if not re.fullmatch("[A-Z][A-Za-z]+", name)]
    unused = [
        f"{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in described["components"][kind]
        if f"'#/components/{kind}/{name}'" not in text
    ]
    assert (wrong, unused) == ([], [])


@every_document
def test_each_field_has_a_description_or_an_obvious_name(described: Json) -> None:
    wrong = []
    for name, schema in described["components"]["schemas"].items():
        if not schema.get("description"):
            wrong.append(f"{name} has no description")
        for field, it in schema.get("properties", {}).items():
            if not it.get("description") and not _is_obvious(field) and "const" not in it:
                wrong.append(f"{name}.{field}")
    for place, operation in operations(described):
        for it in operation.get("parameters", ()):
            if not it.get("description") and not _is_obvious(it["name"]):
                wrong.append(f"{place}: {it['name']}")
    assert not wrong, "\n".join(wrong)


@every_document
def test_examples_are_valid(described: Json) -> None:
    wrong = []
    for name, schema in described["components"]["schemas"].items():
        for field, it in schema.get("properties", {}).items():
            validator = Draft202012Validator({**it, "components": described["components"]})
            wrong += [
                f"{name}.{field}: {example}" for example in it.get("examples", ()) if not validator.is_valid(example)
            ]
    assert wrong == []


def test_headers_that_clients_need_are_in_the_public_document() -> None:
    public = DOCUMENTS[f"aggregator.{Audience.PUBLIC}"]
    found = {name: operation for _, operation in operations(public) for name in [operation["operationId"]]}
    parameters = {name: {it["name"] for it in it.get("parameters", ())} for name, it in found.items()}
    headers = {
        name: {header for _, it in responses(public, operation) for header in it.get("headers", {})}
        for name, operation in found.items()
    }
    assert {name for name, its in parameters.items() if "Idempotency-Key" in its} == {"place_order", "return_goods"}
    assert {name for name, its in parameters.items() if "Last-Event-ID" in its} == {"stream_order"}
    assert {name for name, its in headers.items() if "Location" in its} >= {"place_order", "register_account"}
    assert all("Retry-After" in its for its in headers.values())
