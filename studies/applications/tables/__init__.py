"""Tables and signals: are codes of an autoencoder worth having there?"""
