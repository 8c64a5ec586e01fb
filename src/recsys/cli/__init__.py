"""The command ``recsys``."""

from recsys.cli.app import main

__all__ = ["main"]
