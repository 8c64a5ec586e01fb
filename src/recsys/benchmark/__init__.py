"""Benchmark of the data path: time and memory of each stage, relative to the machine's limits."""
