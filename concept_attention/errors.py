"""Errors that the user can fix."""


class UserError(ValueError):
    """Bad input, or a request that cannot be met. The text says what is wrong, what was expected, and what to do.

    The command line prints it as one line. Any other exception is a bug and keeps its traceback.
    """

    __module__ = "concept_attention"  # ComfyUI shows this name, not the path of the folder that the pack is in
