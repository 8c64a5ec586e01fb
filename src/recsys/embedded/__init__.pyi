from . import airflow, home, postgres, processes, runs, s3, site, stack

__all__ = ["airflow", "home", "postgres", "processes", "runs", "s3", "site", "stack"]
