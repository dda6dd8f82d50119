"""One image's way through the network on the page: stages, their float64 reference, and what is stored of them."""
