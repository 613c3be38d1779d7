"""The datasets, one module each; `stacked.data` finds them by themselves."""
