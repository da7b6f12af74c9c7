"""Sphinx configuration."""

project = "fastnn"
author = "The fastnn authors"
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]
