"""What the helper scripts of a bundle do, on the bundle's own Python and its standard library alone."""
