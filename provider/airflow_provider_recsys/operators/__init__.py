"""Operators that change which release is live."""
