"""Lightning modules: what is minimised, with what, and what is reported."""
