"""Every write of the floor as SQL: one statement handles a batch of messages of one type."""

TABLES = """
DROP SCHEMA IF EXISTS public CASCADE;
CREATE SCHEMA public;
CREATE TABLE outbox (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL, key text NOT NULL, id uuid NOT NULL DEFAULT uuidv7(), type text NOT NULL, body text NOT NULL);
CREATE TABLE inbox (id uuid PRIMARY KEY, received_at timestamptz NOT NULL DEFAULT now());
"""
ORDER_TABLES = """
CREATE TABLE carts (id uuid PRIMARY KEY, customer_id uuid NOT NULL UNIQUE, lines jsonb NOT NULL, total_cents bigint);
CREATE TABLE orders (id uuid PRIMARY KEY, version int NOT NULL, status text NOT NULL, reason text,
    deadline timestamptz, stock text NOT NULL, payment text NOT NULL, shipment text NOT NULL, customer_id uuid NOT NULL,
    cart_id uuid NOT NULL UNIQUE, address_id uuid NOT NULL, payment_token text NOT NULL, lines jsonb NOT NULL,
    shipping_cents bigint NOT NULL, total_cents bigint NOT NULL, currency text NOT NULL, placed_at timestamptz);
CREATE INDEX ON orders (customer_id, id);
CREATE INDEX ON orders (deadline) WHERE deadline IS NOT NULL;
CREATE TABLE steps (order_id uuid, version int, status text NOT NULL, reason text, cause text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (order_id, version));
CREATE TABLE idempotency_keys (caller text, key text, body_hash bytea NOT NULL, status int, answer text,
    created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (caller, key));
"""
PRODUCT_TABLES = """
CREATE TABLE stock (product_id uuid PRIMARY KEY, on_hand bigint NOT NULL, reserved bigint NOT NULL DEFAULT 0,
    CHECK (0 <= reserved AND reserved <= on_hand));
CREATE TABLE reservations (order_id uuid PRIMARY KEY, hold text NOT NULL, lines jsonb NOT NULL);
"""
PAYMENT_TABLES = """
CREATE TABLE payments (order_id uuid PRIMARY KEY, amount_cents bigint NOT NULL, currency text, state text NOT NULL);
CREATE TABLE attempts (id uuid PRIMARY KEY DEFAULT uuidv7(), order_id uuid NOT NULL REFERENCES payments, kind text,
    payment_token text, outcome text, due_at timestamptz);
CREATE INDEX ON attempts (order_id);
CREATE INDEX ON attempts (due_at) WHERE due_at IS NOT NULL;
"""
SHIPPING_TABLES = """
CREATE TABLE shipments (order_id uuid PRIMARY KEY, address_id uuid, lines jsonb NOT NULL, state text NOT NULL,
    tracking_code text, due_at timestamptz);
CREATE INDEX ON shipments (due_at) WHERE due_at IS NOT NULL;
"""
AGGREGATOR_TABLES = """
CREATE TABLE orders (order_id uuid PRIMARY KEY, version int NOT NULL, status text NOT NULL, state jsonb NOT NULL);
"""

# Bodies of messages, as SQL over the changed row `it`.
STATE = """json_build_object('order_id', it.id, 'version', it.version, 'status', it.status, 'reason', it.reason,
    'customer_id', it.customer_id, 'lines', it.lines, 'shipping_cents', it.shipping_cents,
    'total_cents', it.total_cents, 'currency', it.currency, 'placed_at', it.placed_at)"""
LINES = "json_build_object('lines', it.lines, 'address_id', it.address_id)"
MONEY = """json_build_object('amount_cents', it.total_cents, 'currency', it.currency,
    'payment_token', it.payment_token)"""
NOTHING = "'{}'"


def write_outbox(*messages: tuple[str, str, str], key: str = "it.id") -> str:
    """The end of a statement: writes these messages (topic, type, body) into the outbox, for each row `it`."""
    values = ", ".join(f"('{topic}', '{type_}', ({body})::text)" for topic, type_, body in messages)
    return f"""INSERT INTO outbox (topic, key, type, body)
        SELECT m.topic, {key}, m.type, m.body FROM it, LATERAL (VALUES {values}) m (topic, type, body)"""


STEP = "step AS (INSERT INTO steps SELECT it.id, it.version, it.status, it.reason, '{cause}' FROM it)"
BATCHED = "unnest($1::uuid[], $2::jsonb[])"  # the batch of messages: order ids and bodies


def change_status(fact: str, status: str, legs: str, until: str, *messages: tuple[str, str, str]) -> str:
    """One transition of an order: legs and status, history row, commands and event."""
    return f"""
        WITH it AS (UPDATE orders o SET {legs}, status = '{status}', version = version + 1, deadline = {until}
            FROM {BATCHED} m (id, body) WHERE o.id = m.id RETURNING o.*), {STEP.format(cause=fact)}
        {write_outbox(*messages, ("order.events", f"Order{status.capitalize()}", STATE))}"""


def record_fact(leg: str, fact: str) -> str:
    return f"UPDATE orders o SET {leg} = '{fact}' FROM {BATCHED} m (id, body) WHERE o.id = m.id"


ACCEPT = f"""
WITH cart AS (DELETE FROM carts WHERE customer_id = $1::uuid RETURNING *),
it AS (INSERT INTO orders SELECT uuidv7(), 1, 'placed', NULL, now() + interval '1 minute', 'asked', 'none', 'none',
    customer_id, id, $2::uuid, 'tok_visa', lines, 490, total_cents + 490, 'EUR', now() FROM cart RETURNING *),
answer AS (INSERT INTO idempotency_keys SELECT $1::text, $3::text, '\\x00'::bytea, 202, ({STATE})::text FROM it),
{STEP.format(cause="checkout")}
{write_outbox(("product.commands", "ReserveStock", LINES), ("order.events", "OrderPlaced", STATE))} RETURNING 1
"""
ORDER = {
    "StockReserved": change_status(
        *("StockReserved", "reserved", "stock = 'reserved', payment = 'asked'", "now() + interval '15 minutes'"),
        ("payment.commands", "AuthorizePayment", MONEY),
    ),
    "PaymentAuthorized": change_status(
        *(
            "PaymentAuthorized",
            "confirmed",
            "payment = 'authorized', shipment = 'asked'",
            "now() + interval '48 hours'",
        ),
        ("shipping.commands", "CreateShipment", LINES),
    ),
    "ShipmentDispatched": change_status(
        *("ShipmentDispatched", "shipped", "shipment = 'dispatched'", "NULL"),
        ("product.commands", "CommitStock", NOTHING),
        ("payment.commands", "CapturePayment", NOTHING),
    ),
    "StockCommitted": record_fact("stock", "committed"),
    "PaymentCaptured": record_fact("payment", "captured"),
    "ShipmentDelivered": change_status("ShipmentDelivered", "delivered", "shipment = 'delivered'", "NULL"),
}
# All lines of an order are reserved, or none. In one batch, a refused order still counts against those behind it.
RESERVE = f"""
WITH line AS (SELECT m.id, n, (l->>'product_id')::uuid AS product_id, (l->>'quantity')::int AS quantity
    FROM {BATCHED} WITH ORDINALITY m (id, body, n), jsonb_array_elements(m.body->'lines') l),
held AS (SELECT product_id, on_hand - reserved AS available FROM stock
    WHERE product_id IN (SELECT product_id FROM line) ORDER BY product_id FOR UPDATE),
enough AS (SELECT id, coalesce(sum(quantity) OVER (PARTITION BY product_id ORDER BY n) <= available, false) AS yes
    FROM line LEFT JOIN held USING (product_id)),
it AS (SELECT id, bool_and(yes) AS yes FROM enough GROUP BY id),
reservation AS (INSERT INTO reservations SELECT m.id, CASE WHEN yes THEN 'reserved' ELSE 'rejected' END, body->'lines'
    FROM {BATCHED} m (id, body) JOIN it USING (id)),
taken AS (UPDATE stock s SET reserved = reserved + quantity FROM (SELECT product_id, sum(quantity) AS quantity
    FROM line JOIN it USING (id) WHERE yes GROUP BY 1) t WHERE s.product_id = t.product_id)
INSERT INTO outbox (topic, key, type, body)
SELECT 'product.events', id, CASE WHEN yes THEN 'StockReserved' ELSE 'StockRejected' END, '{{}}' FROM it
"""
COMMIT = f"""
WITH it AS (UPDATE reservations r SET hold = 'committed' FROM {BATCHED} m (id, body)
    WHERE r.order_id = m.id AND hold = 'reserved' RETURNING r.*),
gone AS (UPDATE stock s SET on_hand = on_hand - quantity, reserved = reserved - quantity FROM (
    SELECT (l->>'product_id')::uuid AS product_id, sum((l->>'quantity')::int) AS quantity
    FROM it, jsonb_array_elements(it.lines) l GROUP BY 1) t WHERE s.product_id = t.product_id)
{write_outbox(("product.events", "StockCommitted", NOTHING), key="it.order_id")}
"""
AUTHORIZE = f"""
WITH it AS (INSERT INTO payments SELECT id, (body->>'amount_cents')::bigint, body->>'currency', 'authorizing'
    FROM {BATCHED} m (id, body) RETURNING order_id)
INSERT INTO attempts (order_id, kind, payment_token, due_at) SELECT m.id, 'authorize', body->>'payment_token', now()
FROM {BATCHED} m (id, body)
"""
CAPTURE = f"""
WITH it AS (UPDATE payments p SET state = 'capturing' FROM {BATCHED} m (id, body) WHERE p.order_id = m.id
    RETURNING p.order_id)
INSERT INTO attempts (order_id, kind, due_at) SELECT order_id, 'capture', now() FROM it
"""


def record_outcome(kind: str, state: str, event: str) -> str:
    """The second transaction of a call to an external service. The floor makes no calls and assumes the answer."""
    return f"""
        WITH known AS (UPDATE attempts SET outcome = '{state}', due_at = NULL, payment_token = NULL
            WHERE due_at IS NOT NULL AND kind = '{kind}' RETURNING order_id),
        it AS (UPDATE payments p SET state = '{state}' FROM known k WHERE p.order_id = k.order_id RETURNING p.*)
        {write_outbox(("payment.events", event, NOTHING), key="it.order_id")}"""


def change_shipments(state: str, then: str, due: str) -> str:
    return f"UPDATE shipments SET state = '{then}', due_at = {due} WHERE due_at IS NOT NULL AND state = '{state}'"


SHIP = f"""
INSERT INTO shipments SELECT id, (body->>'address_id')::uuid, body->'lines', 'creating', NULL, now()
FROM {BATCHED} m (id, body)
"""
DISPATCHED, DELIVERED = (
    f"WITH it AS ({moved} RETURNING *) {write_outbox(('shipping.events', event, NOTHING), key='it.order_id')}"
    for moved, event in [
        (change_shipments("accepted", "dispatched", "now()"), "ShipmentDispatched"),
        (change_shipments("dispatched", "delivered", "NULL"), "ShipmentDelivered"),
    ]
)
SHOW = f"""
INSERT INTO orders SELECT DISTINCT ON (id) id, (body->>'version')::int, body->>'status', body
FROM {BATCHED} m (id, body) ORDER BY id, (body->>'version')::int DESC
ON CONFLICT (order_id) DO UPDATE SET version = excluded.version, status = excluded.status, state = excluded.state
WHERE orders.version < excluded.version
"""
