"""Starting the trainer as a process, a container, a pod or an indexed Job."""
