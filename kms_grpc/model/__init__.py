"""What the service is about: keys, their states, aliases, identifiers, callers. Frozen data, no storage, no
transport."""
