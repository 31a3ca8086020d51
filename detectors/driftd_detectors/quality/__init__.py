"""Data quality: faults of the pipeline, told apart from drift."""
