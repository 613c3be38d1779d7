"""Studies of what an autoencoder is for: methods that measure themselves, seed by seed, recorded and reported alike."""
