"""From records to laws and reports, and the end of a sweep.

Modules here import what they need at their top, Matplotlib included; only what `train` and its sweeps import
(``finish``, ``early_stopping``) puts figures off until there is a report to write.
"""
