"""What studies of papers share: settings of the period, arms by number of labels, figures of gains and of trajectories."""
