"""Tests of chemscale; helpers are in ``tests.helpers``."""

import os
import sys

# Without compiled modules every process of the tests would compile torch and Lightning again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
