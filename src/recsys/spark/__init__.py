"""Features computed by Spark: the same rules and formulas, on as many machines as there are.

Driver and executors need this wheel and `S3Settings` in their environment. Nothing here is
imported by the rest of the domain, and pyspark is imported only inside functions.
"""
