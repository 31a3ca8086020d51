"""The score families, one file each: effect sizes of a window against a reference, from counts alone."""
