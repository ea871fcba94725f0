"""Small functions that build one piece of the page each."""
