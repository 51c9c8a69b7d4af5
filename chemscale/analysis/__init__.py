"""From records to laws and reports, and the end of a sweep."""
