"""Machine configurations: parsing with line numbers, selectors, volumes, patches."""
