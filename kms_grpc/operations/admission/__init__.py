"""Admission: which keys a call concerns, and whether it may go on."""
