"""What a phase is made of beside stages: corruption, losses, penalties, winner-take-all, optimisers."""
