"""Simulators of external services: payment provider, carrier and mail server as one small program, without our code."""
