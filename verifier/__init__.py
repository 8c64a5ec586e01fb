"""The verifier: checks and measures a candidate in a process of its own, with stock Keras.

It shares no code with the trainer that made the candidate: the gate's numbers are its measurements.
See ``python -m verifier --help``.
"""

import os

# As in the trainer: a keras.json of the account, or KERAS_BACKEND, must not choose another backend.
os.environ["KERAS_HOME"] = os.devnull
os.environ["KERAS_BACKEND"] = "tensorflow"
