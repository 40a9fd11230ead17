"""What listeners like, for people to look at."""
