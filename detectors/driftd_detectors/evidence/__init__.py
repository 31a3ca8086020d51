"""Evidence: what gathers over windows, and when a change began."""
