"""AudioSet's own lists, labels and released features, and the choosing from them."""
