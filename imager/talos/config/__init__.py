"""Machine configurations: read with their lines, selectors, volumes, patches."""
