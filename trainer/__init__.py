"""The trainer: makes one release's model and towers from interactions, and evaluates them.

``python -m trainer --help`` says how it is run; `trainer.training` is its core, which needs no S3.
"""
