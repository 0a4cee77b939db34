"""In any interleaving of repeated commands with known, lost and late outcomes the ledger equals the provider's amounts.

The real handlers run on a unit of work that is never committed; the provider is a small model.
"""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chassis.database import UnitOfWork, new_id
from contracts.payment import AuthorizePayment, CapturePayment, RefundPayment, VoidPayment
from payment.handlers import authorize_payment, capture_payment, record_outcome, refund_payment, void_payment
from payment.models import Attempt, AttemptKind, LedgerAccount, LedgerEntry, Payment, Refund
from payment.provider import ProviderOutcome

CENTS = 1_000


class ProviderModel:
    """The one payment of the order at the provider, which acts once for each attempt."""

    def __init__(self) -> None:
        self.status, self.captured, self.refunded = "none", 0, 0
        self.answers: dict[UUID, ProviderOutcome] = {}

    @property
    def held(self) -> int:
        return CENTS if self.status == "authorized" else 0

    def act(self, attempt: Attempt, willing: bool) -> ProviderOutcome:
        if attempt.id not in self.answers:
            self.answers[attempt.id] = self._act_once(attempt, willing)
        return self.answers[attempt.id]

    def _act_once(self, attempt: Attempt, willing: bool) -> ProviderOutcome:
        match attempt.kind:
            case AttemptKind.AUTHORIZE:
                self.status = "authorized" if willing else "declined"
            case AttemptKind.CAPTURE if self.status == "authorized" and willing:
                self.status, self.captured = "captured", CENTS
            case AttemptKind.VOID:
                self.refunded = self.captured
                self.status = {"authorized": "voided", "captured": "refunded"}.get(self.status, self.status)
            case AttemptKind.REFUND:
                given = willing and attempt.amount_cents <= self.captured - self.refunded
                self.refunded += attempt.amount_cents if given else 0
                if self.captured and self.refunded == self.captured:
                    self.status = "refunded"
                return ProviderOutcome(id="ref_1", status="refunded" if given else "refused", reason=None)
        return ProviderOutcome.model_validate({"id": "pay_1", "status": self.status, "reason": None})


class BooksMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.order_id, self.provider, self.refund_ids = new_id(), ProviderModel(), [new_id() for _ in range(4)]
        self.void_commanded = False
        self.work = UnitOfWork(cast(Any, SimpleNamespace(service="payment", settings=None)))
        self.work._now = datetime.now(UTC)
        for table in (Payment, Refund, Attempt, LedgerEntry):  # as if the database had none of this order
            self.work.rows.note_request(table, "order_id", [self.order_id])

    @rule()
    def authorize(self) -> None:
        command = AuthorizePayment(order_id=self.order_id, amount_cents=CENTS, currency="EUR", payment_token="tok")
        authorize_payment(command, self.work)

    @rule()
    def capture(self) -> None:
        capture_payment(CapturePayment(order_id=self.order_id), self.work)

    @rule()
    def void(self) -> None:
        self.void_commanded = True
        void_payment(VoidPayment(order_id=self.order_id), self.work)

    @rule(number=st.integers(0, 3), cents=st.sampled_from([1, 300, 500, 700, CENTS, CENTS + 1]))
    def refund(self, number: int, cents: int) -> None:
        command = RefundPayment(order_id=self.order_id, refund_id=self.refund_ids[number], amount_cents=cents)
        refund_payment(command, self.work)

    @precondition(lambda self: self.work.loaded(Attempt, outcome=None))
    @rule(data=st.data(), willing=st.booleans(), lost=st.booleans())
    def answer(self, data: st.DataObject, willing: bool, lost: bool) -> None:
        attempt = data.draw(st.sampled_from(self.work.loaded(Attempt, outcome=None)))
        outcome = self.provider.act(attempt, willing)
        record_outcome(attempt, None if lost else outcome, self.work)

    def balances(self) -> dict[LedgerAccount, int]:
        cents = dict.fromkeys(LedgerAccount, 0)
        for entry in self.work.loaded(LedgerEntry):
            assert entry.amount_cents > 0
            cents[entry.debit] += entry.amount_cents
            cents[entry.credit] -= entry.amount_cents
        return cents

    @invariant()
    def all_balances_add_up_to_zero(self) -> None:
        cents = self.balances()
        assert sum(cents.values()) == 0
        assert all(it >= 0 for account, it in cents.items() if account != LedgerAccount.CUSTOMER)

    @invariant()
    def refunds_never_exceed_the_payment(self) -> None:
        kept = [it for it in self.work.loaded(Refund) if it.state != "refused"]
        for payment in self.work.loaded(Payment):
            assert payment.refund_requested_cents == sum(it.amount_cents for it in kept) <= payment.amount_cents

    @invariant()
    def the_ledger_equals_the_provider_once_all_outcomes_are_known(self) -> None:
        if not self.work.loaded(Attempt, outcome=None):
            cents = self.balances()
            assert (cents[LedgerAccount.HELD], cents[LedgerAccount.CAPTURED]) == (
                self.provider.held,
                self.provider.captured - self.provider.refunded,
            )
            assert {it.state for it in self.work.loaded(Refund)} <= {"refunded", "refused"}

    def teardown(self) -> None:
        """Let every attempt end. After a VoidPayment no money is left."""
        while unknown := self.work.loaded(Attempt, outcome=None):
            record_outcome(unknown[0], self.provider.act(unknown[0], willing=True), self.work)
        self.the_ledger_equals_the_provider_once_all_outcomes_are_known()
        for payment in self.work.loaded(Payment):
            assert not payment.state.endswith("ing")
            assert not payment.void_pending
        if self.void_commanded:
            assert (self.balances()[LedgerAccount.HELD], self.balances()[LedgerAccount.CAPTURED]) == (0, 0)


TestBooks = BooksMachine.TestCase
TestBooks.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
