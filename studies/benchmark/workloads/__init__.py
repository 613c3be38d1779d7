"""What the benchmark measures, each a function that trains or starts something and tells what that took."""
