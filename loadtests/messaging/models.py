"""The one table: a row for each handled message."""

from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy.orm import registry
from sqlmodel import Field

from chassis.tables import Table


class Row(Table, registry=registry()):
    """The base of this service's tables."""


class HandledParcel(Row, table=True):
    __tablename__ = "parcels"
    id: UUID = Field(primary_key=True)
    weight_g: int = Field(sa_type=BigInteger)
