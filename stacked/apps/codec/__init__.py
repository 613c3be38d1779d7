"""A codec for images: the codec, the format of its files, entropy coding, and the command `python -m stacked.compress`."""
