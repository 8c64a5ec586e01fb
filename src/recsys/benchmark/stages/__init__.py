"""The data's way from zip to checked index, a module for each process.

A function takes JSON values and returns facts of its work. What it needs is imported with its
module, before the clock starts, and nothing else, so that its memory is its own.
"""
