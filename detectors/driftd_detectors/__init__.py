"""The statistics of driftd: pure functions and records, with no clock, no files and no logging."""
