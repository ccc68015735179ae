"""What people see: lines, progress, questions, help and errors."""
