"""Can a stack restore corrupted images better than filters?"""
