"""What people ask of the daemon: as typed requests, and over HTTP."""
