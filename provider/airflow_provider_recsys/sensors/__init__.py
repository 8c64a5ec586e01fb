"""Sensors that wait for a release."""
