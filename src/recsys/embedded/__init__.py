"""The embedded stack: PostgreSQL with pgvector, S3, Airflow and the site, in one folder."""

try:
    import lazy_loader
except ModuleNotFoundError:
    # In the trainer's environment, whose tests start the S3 server: they import modules.
    __all__: list[str] = []
else:
    # The public face is in __init__.pyi. Most modules need the extra `embedded`; each is imported
    # when it is used, so that the help of a command needs no extra.
    __getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
