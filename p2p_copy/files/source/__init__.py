"""What a sender reads: the walk, the files, and what is remembered of them."""
