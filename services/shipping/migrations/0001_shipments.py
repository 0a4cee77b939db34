"""Shipments."""

from chassis.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.script(
        """
        CREATE TABLE shipments (
            order_id uuid PRIMARY KEY,
            address_id uuid,
            lines jsonb NOT NULL,
            state varchar NOT NULL,
            reason varchar,
            carrier_id varchar,
            tracking_code varchar,
            cancel_pending boolean NOT NULL,
            updates jsonb NOT NULL DEFAULT '[]',
            tries integer NOT NULL,
            due_at timestamptz,
            causation jsonb,
            CHECK (state NOT IN ('dispatched', 'delivered', 'lost') OR tracking_code IS NOT NULL)
        );
        CREATE INDEX ix_shipments_due_at ON shipments (due_at) WHERE due_at IS NOT NULL;
        """
    )
