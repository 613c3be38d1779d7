"""What the commands share: parsing, exit codes, and refusing to write over files of others."""
