"""What the user sees: lines, progress, questions, help and errors."""
