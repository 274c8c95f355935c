"""What people draw: strokes, points and boxes; made, read and spoilt."""
