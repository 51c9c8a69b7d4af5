"""Statistics of prepared data as a page for people, and the same figures as JSON for machines."""
