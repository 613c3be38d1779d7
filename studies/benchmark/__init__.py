"""How fast is training, compared with a hand-written loop, with ClustPy, and with the peak rate of the machine?"""
