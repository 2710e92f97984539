"""The registry: stores keys, materials, aliases and the rest of a region's state, one shard per region."""
