"""The trainer: fits, evaluates and exports the model and towers of one release.

See ``python -m trainer --help``. `trainer.training` is its core, which needs no S3.
"""
