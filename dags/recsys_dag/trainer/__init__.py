"""Runs the trainer as a process, a container, a pod or an Indexed Job."""
