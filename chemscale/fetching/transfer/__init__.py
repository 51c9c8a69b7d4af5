"""From an address to a whole file on the disk: requests, what answers mean, what is kept, retries, checks."""
