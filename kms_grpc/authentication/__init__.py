"""Who calls: credentials, as a door extracted them, become a principal."""
