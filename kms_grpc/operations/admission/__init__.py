"""Decides whether a call may go on: which keys it means, who may use them, and what may be remembered of that."""
