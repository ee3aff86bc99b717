"""The command `stillhouse`. Its modules import what they need when a command runs, so that the
command line itself starts at once."""
