"""Verification of credentials: finds the principal that has sent a call."""
