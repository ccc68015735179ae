"""An adversary in the place of the relay, moved by Hypothesis, and what must hold whatever it does."""
