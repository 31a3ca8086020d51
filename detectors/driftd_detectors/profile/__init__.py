"""Profiles: mergeable summaries of a window, on bins that the reference fixes."""
