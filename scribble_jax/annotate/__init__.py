"""The annotation page: draw strokes on photographs, get masks within a second."""
