"""The store room: every line of SQL in driftd stands here."""
