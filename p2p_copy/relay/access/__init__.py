"""Who may come in, how many, how fast and how much."""
