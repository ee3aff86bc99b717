"""Health: is this process alive, and is everything that it needs?"""
