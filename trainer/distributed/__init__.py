"""Distributed training: resolving this worker's task, collective operations, running a worker."""
