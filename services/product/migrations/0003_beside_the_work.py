"""What takes as long as its table is big, while everybody works; it can be repeated when it was broken off."""

from alembic import op

from chassis.database.schema import index_concurrently

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE stock VALIDATE CONSTRAINT no_more_came_back_than_left")
    index_concurrently("products_sold", "products (category, name, id) WHERE NOT withdrawn")
    index_concurrently("products_counted", "products (category) WHERE NOT withdrawn")
    index_concurrently("stock_low", "stock (product_id) WHERE low")
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS products_by_category")
