"""Files and directories: what a sender makes of a walk, and what a receiver makes of that."""
