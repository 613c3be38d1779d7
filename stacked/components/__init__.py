"""The parts of a phase besides stages: corruption, losses, penalties, winner-take-all, optimisers, non-finite losses."""
