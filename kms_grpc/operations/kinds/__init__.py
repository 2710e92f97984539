"""The kinds of operations: each is a row of the table with a typed handler, and says how its calls are answered."""
