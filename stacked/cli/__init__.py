"""What all commands share: parsing, exit codes, and protection of existing files."""
