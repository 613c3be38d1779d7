"""Denoising: does a trained autoencoder restore corrupted images better than filters?"""
