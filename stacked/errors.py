"""What goes wrong by the user's hand, told in one sentence."""


class InputError(ValueError):
    """Bad input: the message names the value, what is allowed and what to do. Command lines exit with code 2."""


class Interrupted(KeyboardInterrupt):
    """A run ended because it was asked to; the message says whether its place was kept."""


class Diverged(RuntimeError):
    """The loss became non-finite: the message names the phase and the update; what was measured so far is kept."""
