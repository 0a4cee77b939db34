"""What Schemathesis checks beside its own rules. It loads this file itself (`tests/test_api_conformance.py`)."""

from typing import Any

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance


@schemathesis.check
def accepts_valid_input(ctx: Any, response: Any, case: Any) -> bool | None:
    """Valid input is accepted, or refused with a code that the operation documents for this case.

    Schemathesis counts each 422 as a contradiction of the schema. Here a 422 with a code of its own is a fact that no
    schema can tell: a wrong password, a cursor of another list. `invalid_input` stays a contradiction.
    """
    if response.status_code == 422:
        code = response.json()["code"]
        documented = case.operation.definition.raw["responses"]["422"]
        while "$ref" in documented:
            documented = case.operation.schema.raw_schema["components"]["responses"][documented["$ref"].split("/")[-1]]
        if code != "invalid_input" and code in documented["content"]["application/problem+json"]["examples"]:
            return True
    return positive_data_acceptance(ctx, response, case)
