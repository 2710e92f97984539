"""Root keys, which wrap region keys and are used only at start and at rotation."""
