//! The smallest program that can hold detached containers: all it does is to call [`shale_runtime::supervise_main`].

fn main() -> std::process::ExitCode {
    shale_runtime::supervise_main(std::env::args_os().skip(1))
}
