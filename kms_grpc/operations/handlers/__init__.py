"""One function per operation, by topic. A handler is the operation and nothing else: who may call it, and in which
state of which key, is in the table."""
