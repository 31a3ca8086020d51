"""The faults of a pipeline that are told apart from drift, one file each."""
