"""Errors of which the command line prints one sentence: those that a user can mend, where it ends with code 2, and
ranks that have gone."""


class UserError(Exception):
    """Bad input: the message names the file or the argument, says what is wrong with it and what to do."""


class RankLost(Exception):
    """Of the processes that work together one has gone, or does not answer."""
