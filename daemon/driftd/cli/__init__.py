"""The commands of `driftd`. Each loads only what it needs."""
