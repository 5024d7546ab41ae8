# Install rules: filled in when the programs exist.
