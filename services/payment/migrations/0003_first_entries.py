"""The books of the payments that were there before the books: in a transaction of its own, because it may take long."""

from chassis.database import schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    schema.script(
        """
        INSERT INTO entries
            SELECT gen_random_uuid(), order_id, now(), 'held', 'customer', amount_cents
            FROM payments WHERE state NOT IN ('authorizing', 'declined') AND amount_cents > 0;
        INSERT INTO entries
            SELECT gen_random_uuid(), order_id, now(), 'captured', 'held', amount_cents
            FROM payments WHERE order_id IN (SELECT order_id FROM attempts WHERE outcome = 'captured');
        INSERT INTO entries
            SELECT gen_random_uuid(), order_id, now(), 'voided',
                CASE WHEN order_id IN (SELECT order_id FROM attempts WHERE outcome = 'captured')
                    THEN 'captured' ELSE 'held' END, amount_cents
            FROM payments WHERE state = 'voided' AND amount_cents > 0;
        """
    )
