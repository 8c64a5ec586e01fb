"""Hooks: the bucket, the database, and both together."""
