"""Which images are unlike the normal ones?"""
