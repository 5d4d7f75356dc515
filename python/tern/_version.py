"""The version of the package, which is that of the libtern it is for (TERN_VERSION in tern.h)."""

__version__ = "0.1.0"
