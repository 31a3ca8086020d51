"""Sources whose rows are in an engine: a warehouse, a cluster. driftd goes to the data and keeps no copy."""
