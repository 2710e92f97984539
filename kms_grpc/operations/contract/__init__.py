"""Reads the protobuf contract: limits, names, validation, and what of a request the audit records."""
