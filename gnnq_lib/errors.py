"""The errors this library raises on purpose: one sentence each, saying what was given, what is accepted, what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from the caller; the command line turns it into one line and exit code 2.

    Example:
        >>> issubclass(InputError, ValueError)
        True
    """


class DataUnavailableError(RuntimeError):
    """A data set could not be had from any source; names every place tried. Tests skip on it.

    Example:
        >>> issubclass(DataUnavailableError, RuntimeError)
        True
    """
