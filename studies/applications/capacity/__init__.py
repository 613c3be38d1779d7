"""At which width does an autoencoder begin to copy?"""
