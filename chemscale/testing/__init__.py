"""Suites that a new model passes by giving its configuration; made for use from other packages' tests too."""
