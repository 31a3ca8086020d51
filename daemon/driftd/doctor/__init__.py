"""`driftd doctor`: looks over a whole installation, and says of each finding what to do."""
