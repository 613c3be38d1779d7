"""What a study compares: arms, the spaces in which they are tuned, and the claims that are held beside the rows."""
