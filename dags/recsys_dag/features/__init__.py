"""Features on Spark: settings, task and operator."""
