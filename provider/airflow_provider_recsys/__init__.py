"""Airflow provider of the recommender: connection types, hooks, operators, a sensor, a trigger."""

__version__ = "0.1.0"
