"""The settings of the product service."""

from typing import Annotated

from pydantic import Field

from chassis.config import Settings


class ProductSettings(Settings):
    low_stock_pieces: Annotated[int, Field(ge=0)] = Field(
        5, description="The stock of a product is low when fewer pieces than this can be sold."
    )
