//! Black-box tests of the program.

mod completion;
mod docker_cli;
mod output;
mod servers;
mod tour;
