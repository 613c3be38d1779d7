"""The parts of a study: study and session, arms, search spaces, claims, measurements and drawings."""
