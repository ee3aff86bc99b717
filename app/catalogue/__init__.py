"""The catalogue: which methods and networks there are, made from their specifications."""
