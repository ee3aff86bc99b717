"""The database's history. A package, so that an installed service finds it."""
