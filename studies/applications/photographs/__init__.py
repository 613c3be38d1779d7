"""How well does AutoEncoder224 restore photographs?"""
