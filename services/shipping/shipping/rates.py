"""The default shipping rates by country and weight, and the check of other rates in the settings."""

from typing import Annotated

from pydantic import AfterValidator

from contracts.shipping import RatesView, RateView


def _table(currency: str, countries: dict[str, dict[int, int]]) -> RatesView:
    """Rates from cents by the heaviest parcel in grams."""
    listed = {
        country: [RateView(up_to_grams=grams, cents=cents) for grams, cents in rates.items()]
        for country, rates in countries.items()
    }
    return RatesView(currency=currency, countries=listed)


EUROPE = {2_000: 1_390, 5_000: 1_690, 10_000: 2_190, 31_500: 3_990}
RATES = _table(
    "EUR",
    {
        "DE": {2_000: 490, 5_000: 690, 10_000: 1_090, 31_500: 1_990},
        **dict.fromkeys(["AT", "BE", "CZ", "DK", "FR", "IT", "LU", "NL", "PL"], EUROPE),
        "*": {2_000: 1_990, 5_000: 2_990, 10_000: 4_490, 31_500: 8_990},
    },
)


def _complete(rates: RatesView) -> RatesView:
    """Refuse rates without a price for some country or weight, because order needs one for each checkout."""
    if "*" not in rates.countries:
        raise ValueError("the rates have no price for all other countries: *")
    for country, listed in rates.countries.items():
        limits = [rate.up_to_grams for rate in listed]
        if not limits or limits[0] <= 0 or limits != sorted(set(limits)):
            raise ValueError(f"the rates of {country} do not go from light to heavy")
    return rates


CompleteRates = Annotated[RatesView, AfterValidator(_complete)]
