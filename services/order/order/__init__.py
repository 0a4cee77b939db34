"""Order: carts, orders and the checkout process."""
