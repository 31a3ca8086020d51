"""Evidently's opinion of an alarm: asked for in a child process, shown beside the alarm, never an alarm by itself."""
