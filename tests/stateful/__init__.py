"""State machines of Hypothesis: an adversary replaces the relay, and invariants must hold whatever it does."""
