"""The table of handled messages."""

from chassis.schema import script, upgrade_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    upgrade_v1()
    script("CREATE TABLE parcels (id uuid PRIMARY KEY, weight_g bigint NOT NULL);")
