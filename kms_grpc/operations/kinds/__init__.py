"""The kinds of operations, each with its own way of answering: over a message, over raw bytes, batch, stream."""
