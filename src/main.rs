//! resetgate: the program.

fn main() {}
