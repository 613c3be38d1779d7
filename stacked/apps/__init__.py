"""What trained stacks are for: features, anomalies, denoising, compression, maps."""
