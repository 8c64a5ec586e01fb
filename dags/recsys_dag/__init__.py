"""Airflow-facing shells around the domain package ``recsys``."""
