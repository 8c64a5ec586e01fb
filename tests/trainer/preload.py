"""Imports what takes long, in the process that `tests.trainer.processes` forks from."""

import gc
import os

# As `python -m trainer` does before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import boto3  # noqa: F401
import tensorflow as tf

import verifier.champion
import verifier.commands  # noqa: F401

# `tensorflow` imports Keras lazily.
assert tf.keras

# A collection of garbage need not look at the objects of the imported modules.
gc.collect()
gc.freeze()
