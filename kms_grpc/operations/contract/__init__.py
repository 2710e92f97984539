"""Applies the protobuf contract: limits, names, validation, encodings, and the audited part of requests."""
