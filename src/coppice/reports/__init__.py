"""What a run leaves for people: one HTML file, figures for a paper, a table for a page."""
