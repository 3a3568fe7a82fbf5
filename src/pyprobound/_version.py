"""The version, said once: the build and the command read it from here."""

__version__ = "0.1.0"
