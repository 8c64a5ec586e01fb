"""The commands of ``recsys``, by subject."""
