"""What a simulation shows, as a page, a table and numbers for programs."""
