"""The reading of image files: which formats, how many pixels, and whether a file is whole."""
