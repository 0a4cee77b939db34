"""The map: one module per service says what it obeys, announces and serves.

A contract belongs to the service that obeys the command, announces the event or
serves the resource. It may be imported from the same layer or from above, so
commands go down and events go up; the linter reads these imports.
"""
