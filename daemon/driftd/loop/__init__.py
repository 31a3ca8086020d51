"""The loop: check what is due, decide, act, and begin again."""
