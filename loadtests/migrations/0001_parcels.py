"""The table of handled messages."""

from chassis.database.schema import script

revision = "0001"
down_revision = None


def upgrade() -> None:
    script("CREATE TABLE parcels (id uuid PRIMARY KEY, weight_g bigint NOT NULL);")
