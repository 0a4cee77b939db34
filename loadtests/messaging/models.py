"""The one table: a row for each handled message."""

from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field

from chassis.database import Table


class HandledParcel(Table, table=True):
    __tablename__ = "parcels"
    id: UUID = Field(primary_key=True)
    weight_g: int = Field(sa_type=BigInteger)
