//! Requests over the socket, held against what dockerd was recorded to answer.

mod containers;
mod images;
mod server;
mod system;
mod transfer;
