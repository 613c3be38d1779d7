"""How small do codes make images?"""
