"""Builds that are made outside: the order, what comes back, storage that both see, and KServe, which loads versions."""
