"""The trainer: fits, evaluates and exports the model and towers of one release.

See ``python -m trainer --help``. `trainer.training` is its core, which needs no S3.
"""

import os

# A keras.json in the home of the account, or KERAS_BACKEND, would choose another backend or
# precision: what is trained depends on the build alone. Keras reads both when it is imported.
os.environ["KERAS_HOME"] = os.devnull
os.environ["KERAS_BACKEND"] = "tensorflow"
