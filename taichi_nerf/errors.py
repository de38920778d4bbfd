"""Errors that a user can mend: the command line prints their one sentence and ends with code 2."""


class UserError(Exception):
    """Bad input: the message names the file or the argument, says what is wrong with it and what to do."""
