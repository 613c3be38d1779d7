"""Local learning rules without a loss of a code, in plain torch: baselines of studies."""
