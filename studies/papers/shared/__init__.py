"""What several studies of papers share: settings of the period, arms by number of labels, and the figure of their gain."""
