//! What the supervisor program does when it is started by this crate.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::find::Runtime;

/// The whole life of a supervisor or guard process: `args` are those that [`crate::Supervisor::args`] precede.
///
/// Call it before anything else in `main`, and end with what it returns.
pub fn supervise_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match args.first().and_then(|word| word.to_str()) {
        Some("guard") if args.len() == 3 => {
            let runtime = Runtime::at(PathBuf::from(&args[1]), PathBuf::from(&args[2]));
            crate::run::guard_main(&runtime);
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(125),
    }
}
