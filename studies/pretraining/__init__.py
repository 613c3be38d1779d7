"""Studies of pretraining: layer-wise against joint training, growth policies, and depth."""
