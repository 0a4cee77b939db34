"""Shipping: parcels sent through a carrier."""
