//! Black-box tests of the program.

mod completion;
mod docker_cli;
mod servers;
mod tour;
