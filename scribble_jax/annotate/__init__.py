"""The annotation page: draw strokes on photographs and see masks of them."""
