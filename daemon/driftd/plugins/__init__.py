"""The user's own metrics and detectors: called in child processes alone, never in the daemon's."""
