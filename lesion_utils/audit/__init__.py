"""What is wrong with a set of cases, and what two sets share."""

from lesion_utils.audit.findings import findings, findings_sentence
from lesion_utils.audit.images import open_image, pixel_digests

__all__ = ["findings", "findings_sentence", "open_image", "pixel_digests"]
