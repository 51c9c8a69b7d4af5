"""Timing ours beside other codes and our own older revisions: works, who does them, turns, the table."""
