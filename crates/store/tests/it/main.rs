//! The store against real data roots, a real dockerd, faults and kills.

mod fixture;
mod publish;
