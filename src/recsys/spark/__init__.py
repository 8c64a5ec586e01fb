"""Computes features on Spark, with the same rules and formulas as on one machine.

Driver and executors need this wheel, and the variables of `S3Settings` in their environment. The
rest of the domain imports nothing from here, and pyspark is imported only inside functions.
"""
