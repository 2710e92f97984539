"""Front doors: they decode and encode calls for the executor and contain no rules of their own."""
