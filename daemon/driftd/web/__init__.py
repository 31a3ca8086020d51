"""What both HTTP servers share: who may change something, what browsers may do, and patience with slow clients."""
