"""What people read of decisions: what changed, how sure that is, what happens next; the figures stand behind."""
