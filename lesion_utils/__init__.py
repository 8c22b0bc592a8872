"""The package behind the five notebooks: from image files to judged numbers.

Each room imports only rooms above it in the README's list; importing the package itself loads nothing.
"""

import sys

# jsonschema, under nbformat, would build a grammar for web addresses in any script: over a second in every process of a
# study, for a check that no notebook needs. It does without where the package is not there.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
