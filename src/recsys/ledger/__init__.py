"""The schema ``recsys`` in PostgreSQL: releases and their states, journal, history, migrations."""

import lazy_loader

# The public face is listed in __init__.pyi; a module is imported when one of its names is used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
