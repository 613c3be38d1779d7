"""Datasets that are drawn from seeds, one module each: shapes, and variations of MNIST."""
