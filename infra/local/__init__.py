"""The local system: real servers from packages, and the supervisor that runs them and the services as its children."""

NAME = "agora"  # the command and the state folder follow from it
