//! The program `shale`.

#[allow(dead_code)] // The commands that use it follow.
mod terminal;

fn main() {}
