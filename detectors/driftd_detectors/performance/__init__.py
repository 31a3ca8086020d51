"""Performance: losses, labels that come late, and their evidence."""
