"""Shipping rates: every caller may read them, and incomplete rates are refused at the start of the service."""

import json

import pytest
from pydantic import ValidationError

from chassis.testing import Launch, Launched
from contracts.shipping import RatesView
from ledger.fakes import FakeUserService
from shipping.config import ShippingSettings
from shipping.main import service
from shipping.rates import RATES

from .conftest import SECRET


async def test_every_caller_may_read_the_rates(shipping: Launched) -> None:
    async with shipping.as_service() as client, shipping.as_customer() as customer, shipping.client() as anonymous:
        answer = await client.get("/rates")
        assert RatesView.model_validate(answer.json()) == RATES
        assert answer.headers["cache-control"] == "max-age=60"
        assert (await customer.get("/rates")).json() == answer.json()
        assert (await anonymous.get("/rates")).status_code == 401


@pytest.mark.parametrize(
    ("country", "grams", "cents"),
    [
        ("DE", 1, 490),
        ("DE", 2_000, 490),
        ("DE", 2_001, 690),
        ("DE", 31_500, 1_990),
        ("DE", 31_501, 1_990 + 490),
        ("DE", 2 * 31_500, 2 * 1_990),
        ("FR", 2_000, 1_390),
        ("NZ", 2_000, 1_990),
    ],
)
async def test_default_rates(country: str, grams: int, cents: int) -> None:
    assert RATES.cents(country, grams) == cents


def test_heavier_costs_more_everywhere() -> None:
    for rates in RATES.countries.values():
        cents = [rate.cents for rate in rates]
        assert cents == sorted(set(cents))


async def test_rates_come_from_the_environment(
    launch: Launch, users: FakeUserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"currency": "EUR", "countries": {"*": [{"up_to_grams": 1_000, "cents": 1}]}}
    monkeypatch.setenv("SHIPPING_RATES", json.dumps(values))
    shipping = await launch(service, CARRIER_WEBHOOK_SECRET=SECRET)
    async with shipping.as_service() as client:
        assert (await client.get("/rates")).json() == values


BAD = {
    "no other countries": {"DE": [{"up_to_grams": 1, "cents": 1}]},
    "nothing": {"*": []},
    "no order": {"*": [{"up_to_grams": 2, "cents": 1}, {"up_to_grams": 1, "cents": 2}]},
    "twice": {"*": [{"up_to_grams": 1, "cents": 1}, {"up_to_grams": 1, "cents": 2}]},
    "no weight": {"*": [{"up_to_grams": 0, "cents": 1}]},
}


@pytest.mark.parametrize("countries", BAD.values(), ids=BAD)
def test_incomplete_rates_are_refused(countries: object) -> None:
    rates = {"currency": "EUR", "countries": countries}
    with pytest.raises(ValidationError, match="rates"):
        ShippingSettings.of("shipping", database_url="", service_key="", carrier_webhook_secret=SECRET, rates=rates)
