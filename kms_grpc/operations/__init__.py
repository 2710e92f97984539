"""What the service does: a row per operation, one executor, handlers by topic."""
