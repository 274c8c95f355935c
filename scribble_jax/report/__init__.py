"""What runs and sweeps came to: one HTML page, tables as CSV, figures as PNG.

runs, studies, events: folders -> studies   comparison: published figures
outcomes, summaries, figures: studies -> what is shown
chapters, page: the page   files, writer: the folder as a whole
"""
