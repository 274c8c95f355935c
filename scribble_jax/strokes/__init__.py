"""What people draw: strokes, points and boxes; read, spoilt and simulated."""
