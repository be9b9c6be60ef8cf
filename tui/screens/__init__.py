"""One module for each screen: it asks `tui.view` for a picture, and orders what is asked by keys."""
