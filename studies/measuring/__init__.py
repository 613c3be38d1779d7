"""Studies of measurements: methods x seeds, measured one after the other into one tidy table, and the page of its rows."""
