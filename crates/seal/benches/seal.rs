//! What the first lock costs.
fn main() {}
