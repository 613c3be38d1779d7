"""Applications of trained stacks: features, anomaly detection, denoising, compression, maps."""
