//! The smallest program that can hold containers, and two that start one: for the tests, which kill it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use shale_runtime::{
    ContainerSpec, DetachedSpec, Runtime, Signals, Stdio, Stream, Supervisor, supervise_main,
};

fn main() -> ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let id = format!("example{}", std::process::id());
    match args.as_slice() {
        [word, base, rootfs, directory] if word == Path::new("--start-detached") => {
            let container = ContainerSpec::new(id, rootfs, ["sleep", "1000"].map(str::to_owned).to_vec());
            let spec = DetachedSpec {
                container,
                log: None,
                open_stdin: false,
                stdin_once: false,
                size: None,
                restart: shale_runtime::Restart::No,
                health: None,
            };
            let container = runtime(base).supervise(directory, &spec).expect("a supervisor starts");
            container.start().expect("a container starts");
            ExitCode::SUCCESS
        }
        [word, base, rootfs] if word == Path::new("--run-foreground") => {
            let script = ["sh", "-c", "echo $$ >/pid-of-first; sleep 1000"].map(str::to_owned).to_vec();
            let spec = ContainerSpec::new(id, rootfs, script);
            let status = runtime(base).run_to_end(&spec, Stdio::default(), &mut Signals::none());
            ExitCode::from(status.map_or(125, |status| status.code as u8))
        }
        [word, base, rootfs] if word == Path::new("--run-foreground-as-user") => {
            let script =
                ["sh", "-c", "id; grep Seccomp: /proc/self/status; exit 7"].map(str::to_owned).to_vec();
            let stdio = Stdio { stdout: Stream::Inherit, stderr: Stream::Inherit, ..Stdio::default() };
            let spec = ContainerSpec::new(id, rootfs, script);
            match runtime(base).run_to_end(&spec, stdio, &mut Signals::none()) {
                Ok(status) => ExitCode::from(status.code as u8),
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::from(125)
                }
            }
        }
        _ => supervise_main(args.into_iter().map(PathBuf::into_os_string)),
    }
}

fn runtime(base: &Path) -> Runtime {
    let program = "/proc/self/exe".into();
    Runtime::find(None)
        .expect("the package runc is installed")
        .with_records(base.join("run/records"))
        .with_supervisor(Supervisor { program, args: Vec::new() })
}
