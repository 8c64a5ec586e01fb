"""Stages of the data path from zip to checked index, one module for each process.

A stage is a function of JSON values that returns facts about its work. Its module imports only what
it needs, before the measurement starts, so that the memory measured is that of the stage.
"""
