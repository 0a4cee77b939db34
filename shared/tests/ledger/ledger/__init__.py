"""A service without any business, for tests of the chassis: accounts that count what is booked on them."""
