"""A relay of several processes: real ones, whose workers are killed, replaced and asked."""
