//! Requests over the socket, held against what dockerd was recorded to answer.

mod build;
mod containers;
mod images;
mod malformed;
mod networks;
mod server;
mod system;
mod transfer;
