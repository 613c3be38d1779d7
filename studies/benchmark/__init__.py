"""How fast is training, compared with a hand-written loop, with ClustPy and JAX, and with the peak rate of the machine?"""
