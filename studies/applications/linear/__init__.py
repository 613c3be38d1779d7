"""Do linear autoencoders find the principal subspace?"""
