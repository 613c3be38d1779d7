"""How fast is it, against a hand-written loop, against others, and against what the machine can do?"""
