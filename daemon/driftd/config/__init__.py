"""The config: its types, reading it with every fault at once, and its documentation."""
