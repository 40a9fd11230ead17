"""Neural networks, and readers of the files in which other people publish their weights."""
