"""Studies of pretraining: layer-wise against joint training, and growth policies."""
