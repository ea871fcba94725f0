"""The side that computes: warm workers, the engine and the explanation methods."""
