"""The study of local learning: what rules that train blocks on their own cost in quality, and what they save."""
