//! Integration tests: a real server on port 0, driven by frames and by our own client.

fn main() {}
