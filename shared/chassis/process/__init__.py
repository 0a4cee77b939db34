"""A process from its start to its end: the command `run`, the parts that run in a role, and the routes for operators.

Only the command and the tests import this wing. Services know nothing of the process that runs them.
"""
