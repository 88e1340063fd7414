"""One-line breaks of the code, and the proof that the tests notice each of them."""
