"""The local system: real servers from packages, and a supervisor that runs them and the services as children."""

NAME = "agora"  # name of the command and of the state folder `.agora`
