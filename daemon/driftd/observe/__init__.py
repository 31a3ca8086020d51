"""What the outside sees of the daemon: logs, metrics, its HTTP."""
