"""The annotation page: strokes on one's own pictures, masks a second later."""
