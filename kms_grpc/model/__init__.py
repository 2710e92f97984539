"""Keys, their states, aliases, identifiers and principals as frozen data, without storage and transport."""
