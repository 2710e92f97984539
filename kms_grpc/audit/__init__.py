"""What happened: a record per call with CloudTrail's field names, and counters."""
