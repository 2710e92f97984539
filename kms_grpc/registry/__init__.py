"""The registry: where keys, materials and aliases are kept, one shard per region."""
