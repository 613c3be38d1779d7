"""AutoEncoder224 on colour photographs."""
