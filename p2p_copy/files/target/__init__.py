"""Where a receiver writes: nothing outside the output directory, nothing half-done under a final name."""
