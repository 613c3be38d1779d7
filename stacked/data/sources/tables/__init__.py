"""Tables and arrays, bundled or in a user's own files, one module each."""
