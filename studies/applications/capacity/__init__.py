"""Capacity: at which width of the code does an autoencoder begin to copy its input?"""
