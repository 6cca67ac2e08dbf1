//! Requests over the socket, held against what dockerd was recorded to answer.

mod build;
mod containers;
mod images;
mod malformed;
mod server;
mod system;
mod transfer;
