"""What is remembered between two runs: one private state for each transfer, and its journal."""
