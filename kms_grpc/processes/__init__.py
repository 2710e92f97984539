"""The processes of a server: a supervisor, workers that serve calls, and a keeper for periodic work.

Children are spawned, never forked. A child receives its settings as JSON on standard input, because they contain tokens
and other users can read arguments and environments. On standard output it reports that it is ready or why it failed.
"""
