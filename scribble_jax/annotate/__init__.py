"""The annotation page: strokes on your own photographs, masks a second later."""
