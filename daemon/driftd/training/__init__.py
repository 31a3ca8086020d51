"""Builds: jobs in child processes that snapshot, train, judge, verify and shadow. Imports nothing heavy."""
