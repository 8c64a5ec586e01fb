"""The steps of one run. Each is a plain function, which a task calls and a test calls directly.

Every step is idempotent: it first checks whether its result already exists. A complete release
never changes; a forced run only judges it again.
"""

import lazy_loader

# The public face is listed in __init__.pyi; a module is imported when one of its names is used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
