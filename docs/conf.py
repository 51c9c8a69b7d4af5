"""How Sphinx builds these pages: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parents[1])]

from chemscale import __version__  # noqa: E402 (where it lies is said above)

project = "chemscale"
author = "the chemscale authors"
version = release = __version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "pages",
]
exclude_patterns = ["_build", "_ext"]

# Markdown. Dead links and anchors are warnings, and CI builds with -W.
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = False
nitpicky = True
# Types of other packages and type variables have no page; of ours only what is documented is linked.
nitpick_ignore_regex = [(r"py:.*", r"(?!chemscale\.).*"), (r"py:class", r".*\.T")]

# Docstrings: plain text with Google sections.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True

# External links: `sphinx-build -b linkcheck docs docs/_build/linkcheck`, where there is a network.
linkcheck_timeout = 20
linkcheck_retries = 2

html_theme = "furo"
html_title = f"chemscale {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
