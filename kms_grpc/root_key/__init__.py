"""Root keys: what wraps the regions' keys, at start and at rotation only."""
