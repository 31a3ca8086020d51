"""driftd: watches a deployed tabular model, and retrains, swaps and rolls back by itself when evidence says so."""
