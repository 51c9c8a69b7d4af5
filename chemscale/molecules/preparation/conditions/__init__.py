"""Conditions of molecules while a corpus is built: what is asked for, columns, measuring, binning."""
