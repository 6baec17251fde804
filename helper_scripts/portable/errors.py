"""What can go wrong in a helper, told to a person who only wants to use ComfyUI."""

DONE = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


class HelperError(Exception):
    """Its text is shown as it is: what happened and what to do about it."""

    exit_code = FAILED


class UsageError(HelperError):
    """The helper was called with arguments that mean nothing."""

    exit_code = USAGE
