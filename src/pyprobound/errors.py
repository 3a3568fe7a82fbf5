"""Errors that are the user's to mend: one line that says what, where and what to do."""


class PyProBoundError(ValueError):
    """Bad input: a file, a table, a configuration or a checkpoint.

    The message is one line that names the value, the rule and the way out; the
    command prints it and exits with code 2.
    """


class InputError(PyProBoundError):
    """A sequence file or a count table that cannot be read as one."""


class ConfigError(PyProBoundError):
    """A configuration that does not describe a model."""


class CheckpointError(PyProBoundError):
    """A checkpoint that is damaged or belongs to another model."""
