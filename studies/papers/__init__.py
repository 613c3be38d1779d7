"""Studies that reproduce a paper, and hold what it claims beside the rows."""
