"""Studies that reproduce a paper and test its claims."""
