"""What a relay's log says, and how: events, floods, and what identifies nobody."""
