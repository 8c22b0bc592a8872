"""What is wrong with a set of cases, and what two sets share."""

from lesion_utils.audit.findings import findings
from lesion_utils.audit.near import check_near_duplicates
from lesion_utils.audit.pictures import open_image, pixel_digests

__all__ = [
    "check_near_duplicates",
    "findings",
    "open_image",
    "pixel_digests",
]
