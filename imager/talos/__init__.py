"""What Talos decides: versions, components, META, the command line, configurations."""
