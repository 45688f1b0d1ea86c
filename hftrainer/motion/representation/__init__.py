"""What the numbers of a motion mean: specs, the encodings, and the roads between them."""
