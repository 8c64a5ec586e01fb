"""The embedded stack: PostgreSQL with pgvector, S3, Airflow and the site, in one folder."""
