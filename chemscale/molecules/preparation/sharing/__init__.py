"""One build that several processes work on, on any number of machines that see one file system."""
