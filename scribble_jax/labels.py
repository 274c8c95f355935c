"""What class indices mean beyond the classes."""

IGNORE_LABEL = 255  # Unlabelled: belongs to no class.
