"""Make the files of a release of imager: `make release`."""
