"""How long the data's way takes, and how near that comes to what the machine can do."""
