"""Culvert: an IPsec gateway with BIG-IP's configuration model and manually keyed security associations."""

__version__ = "0.1.0"
