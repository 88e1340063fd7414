"""Rules of Talos: versions, components, META, the kernel command line, configurations."""
