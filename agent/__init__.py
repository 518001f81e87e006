"""Huitong 汇通: the department data-exchange agent."""

__version__ = "1.0.0"
