//! The engine on data roots of its own and against registries, good and bad, and the programs that read what it writes.

mod archive;
mod check;
mod compare;
mod copy;
mod explain;
mod golden;
mod import;
mod prune;
mod pull;
mod push;
mod usage;
