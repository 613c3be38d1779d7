"""FLOPs, memory, time and disk of a run, before and while it trains."""
