"""May they: decisions about (principal, action, key), without transport and without storage."""
