"""What is wrong with a set of cases, and what two sets share."""

from lesion_utils.audit.overlap import conflicting_labels, same_pixels, shared_lesions
from lesion_utils.audit.pictures import open_image, pixel_digests

__all__ = ["conflicting_labels", "open_image", "pixel_digests", "same_pixels", "shared_lesions"]
