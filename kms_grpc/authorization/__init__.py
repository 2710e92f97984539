"""Decisions about (principal, action, key), without transport and storage."""
