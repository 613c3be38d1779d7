"""What a study is: the study and its session, arms, search spaces, claims, measurements and drawings."""
