"""The registry over SQL: a module per kind of row, with its statements, its conversion and its reads and writes."""
