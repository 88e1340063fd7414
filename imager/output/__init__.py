"""One module an output: what stands where."""
