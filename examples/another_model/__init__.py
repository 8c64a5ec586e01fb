"""Another architecture for the trainer; docs/data-scientist.md describes how to release it."""
