"""Front doors: codecs without rules, in front of the one executor."""
