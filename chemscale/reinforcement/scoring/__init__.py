"""Scoring functions: those that are shipped, anybody's by import path, transforms, and their aggregation."""
