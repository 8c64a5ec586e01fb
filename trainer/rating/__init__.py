"""The rating model: training, folding, and the Keras model that is served."""
