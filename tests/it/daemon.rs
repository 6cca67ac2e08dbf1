//! `shale daemon`, driven by programs that were written for dockerd.

mod commands;
mod docker_py;
mod kills;
mod networks;
mod reach;
mod replay;
mod survival;
