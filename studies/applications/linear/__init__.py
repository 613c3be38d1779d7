"""Linear autoencoders: do they learn the principal subspace?"""
