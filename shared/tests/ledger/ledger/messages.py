"""What the ledger obeys and announces."""

from chassis.calls import Api, Layer
from chassis.message import Command, Event

api = Api("ledger", Layer.PROCESS)
peer = Api("peer", Layer.SYSTEM)
above = Api("above", Layer.EXPERIENCE)


class Book(Command, wire_type="ledger.book.v1", key="account"):
    """Add to the balance of an account; `statement` asks for one to be printed."""

    account: str
    number: int
    amount: int = 1
    statement: bool = False
    text: str = ""


class Booked(Event, wire_type="ledger.booked.v1", key="account"):
    """An account after a booking."""

    account: str
    number: int
    balance: int


class Printed(Event, wire_type="ledger.printed.v1", key="account"):
    """A statement has left the printer."""

    account: str


class Forgotten(Command, wire_type="ledger.forgotten.v1", key="account"):
    """A type that nobody handles any more."""

    account: str
