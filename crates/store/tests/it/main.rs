//! The store against real data roots, a real dockerd, faults and kills.

mod crash;
mod damage;
mod dockerd;
mod downloads;
mod fixture;
mod garbage;
mod golden;
mod publish;
mod speed;
