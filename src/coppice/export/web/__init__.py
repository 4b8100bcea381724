"""A folder with a page that hears: the networks in a browser, from any static server."""
