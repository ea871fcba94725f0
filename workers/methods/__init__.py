"""One file is one explanation method; files that begin with an underscore are parts of a method."""
