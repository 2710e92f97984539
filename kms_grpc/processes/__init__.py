"""The processes of a server: a supervisor, workers that serve, and a keeper for what happens by the clock.

They are spawned, never forked: a child gets its settings as JSON on its standard input (they hold tokens, so neither
arguments nor environment would do) and reports on its standard output once it is ready, or why it cannot be.
"""
