"""Training by several workers together."""
