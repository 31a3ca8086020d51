"""One plug-in of each kind for driftd, small and whole."""
