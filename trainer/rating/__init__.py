"""The rating model: an ensemble of factor models, folded into a Keras model for serving."""
