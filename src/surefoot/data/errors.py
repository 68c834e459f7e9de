"""The error for data that cannot be used."""


class DataError(ValueError):
    """Data cannot be used; the message is one sentence that says where, what was found and what to do.

    >>> raise DataError("a9a:17: found label 'spam', expected a number")
    Traceback (most recent call last):
    surefoot.data.errors.DataError: a9a:17: found label 'spam', expected a number
    """
