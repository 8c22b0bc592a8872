"""What is wrong with a set of cases, and what two sets share."""

from lesion_utils.audit.findings import findings
from lesion_utils.audit.images import open_image, pixel_digests

__all__ = ["findings", "open_image", "pixel_digests"]
