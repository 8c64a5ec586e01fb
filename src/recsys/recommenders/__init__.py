"""Recommenders: their descriptions, and the names that derive from them."""

import lazy_loader

# __init__.pyi lists the public names; a module is imported when one of its names is used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
