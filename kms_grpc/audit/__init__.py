"""Audit records with CloudTrail's field names, the audit log, and counters of calls."""
