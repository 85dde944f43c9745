"""The version of the package: read by the build too."""

__version__ = '5.5.0'
