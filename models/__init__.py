"""Networks: finding, loading, preprocessing and tapping them. No queue, no web."""
