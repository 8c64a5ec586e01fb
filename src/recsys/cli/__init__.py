"""The command ``recsys``."""

import gc
import os

__all__ = ["main"]


def main() -> None:
    """Runs the command line; prints errors of the domain and exits with their code."""
    # Importing libraries allocates objects that stay, and most commands do little else: with
    # Python's default of 700, collections take a fifth of their time.
    gc.set_threshold(50_000)
    # At its first model, pydantic searches the metadata of all installed packages for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from recsys.cli import app

    app.main()
