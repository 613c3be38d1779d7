"""The command line of studies of training runs: options, YAML values, conversion to a spec, and exit codes."""
