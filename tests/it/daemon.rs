//! `shale daemon`, driven by programs that were written for dockerd.

mod replay;
mod survival;
