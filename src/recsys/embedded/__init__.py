"""The one-machine stack: PostgreSQL with pgvector, S3 and Airflow from wheels, in one folder."""
