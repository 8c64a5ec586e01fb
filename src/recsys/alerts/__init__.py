"""Alerts about events of the ledger: channels, delivery, heartbeat."""

import lazy_loader

# The public face is listed in __init__.pyi; a module is imported when one of its names is used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
