"""Reports of what a teacher knows beyond its answers."""
