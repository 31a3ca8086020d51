"""`driftd rehearse`: the daemon lives through recorded rows on a virtual clock, builds and all, beside its rivals."""
