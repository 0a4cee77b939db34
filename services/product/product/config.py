"""What product can be told."""

from typing import Annotated

from pydantic import Field

from chassis.config import Settings


class ProductSettings(Settings):
    low_stock_pieces: Annotated[int, Field(ge=0)] = 5  # a product of which fewer can be sold is low
