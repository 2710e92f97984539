"""The operations of the service: a table with a row per operation, one executor, handlers by topic."""
