//! The engine on data roots of its own and on those that dockerd wrote.

mod archive;
mod check;
mod compare;
mod explain;
mod golden;
mod import;
mod usage;
