"""`python -m cli`, the same command where the script is not on the path."""

from cli import app

if __name__ == "__main__":
    app()
