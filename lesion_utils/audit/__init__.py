"""What is wrong with a set of cases, and what two sets share."""

from lesion_utils.audit.findings import findings
from lesion_utils.audit.images import open_image, pixel_digests
from lesion_utils.audit.near_duplicates import check_near_duplicates

__all__ = [
    "check_near_duplicates",
    "findings",
    "open_image",
    "pixel_digests",
]
