"""Handlers by topic. Each module holds the functions of its operations and their rows in the table (ROWS).

Modules to come: signing, macs, key_agreement, policies, replication.
"""
