"""A wing of the chassis."""
