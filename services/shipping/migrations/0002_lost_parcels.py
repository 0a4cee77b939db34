"""What the carrier said of a shipment, and parcels it lost."""

from chassis.database import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.script(
        """
        ALTER TABLE shipments
            ADD COLUMN updates jsonb NOT NULL DEFAULT '[]',
            ADD CONSTRAINT what_is_lost_had_left CHECK (state <> 'lost' OR tracking_code IS NOT NULL) NOT VALID;
        """
    )
