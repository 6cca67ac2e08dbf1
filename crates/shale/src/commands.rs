//! The commands: each takes plain values, calls the engine, and prints.

mod build;
pub mod completion;
mod container;
mod content_trust;
mod copy;
mod daemon;
mod diff;
mod explain;
mod fsck;
mod gc;
pub mod hint;
mod history;
mod image_prune;
mod image_remove;
mod images;
mod import;
mod info;
mod inspect;
mod load;
mod login;
mod logout;
mod manifest_inspect;
mod pull;
mod push;
mod registry;
mod save;
mod search;
mod system_df;
mod tag;
pub mod tour;
mod version;

use crate::cli::Command;
use crate::context::Context;

/// The word by which the program starts itself as the supervisor of containers.
pub const SUPERVISE: &str = "__supervise";

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// To be printed.
    Error(anyhow::Error),
    /// Printed already, where several things failed one by one.
    Reported {
        /// Exit code of the program.
        exit_code: u8,
    },
    /// Ctrl-C.
    Interrupted,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Error(error.into())
    }
}

/// Runs a command.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Build(build) => build::run(context, &build),
        Command::Pull { reference, all_tags, platform, disable_content_trust, quiet } => {
            content_trust::refuse(disable_content_trust)?;
            pull::run(context, &reference, all_tags, platform.as_deref(), quiet)
        }
        Command::Push { reference, all_tags, platform, disable_content_trust, quiet } => {
            content_trust::refuse(disable_content_trust)?;
            push::run(context, &reference, all_tags, platform.as_deref(), quiet)
        }
        Command::Images(images) => images::run(context, &images),
        Command::Inspect(inspect) => inspect::run(context, &inspect),
        Command::History { image, format, human, no_trunc, platform, quiet } => {
            let options = history::Options { format, human, no_trunc, quiet };
            history::run(context, &image, platform.as_deref(), options)
        }
        Command::Tag { source, target } => tag::run(context, &source, &target),
        Command::SystemDf { format, verbose } => system_df::run(context, &format, verbose),
        Command::Version { format } => version::run(format.as_deref()),
        Command::Info { format } => info::run(context, format.as_deref()),
        Command::Explain(explain) => explain::run(context, &explain),
        Command::Diff { image, other, format } => diff::run(context, &image, &other, format.as_deref()),
        Command::Fsck { repair, quiet } => fsck::run(context, repair, quiet),
        Command::Gc { dry_run } => gc::run(context, dry_run),
        Command::ImageRemove(command) => image_remove::run(context, &command),
        Command::ImagePrune { all, force, filters } => image_prune::run(context, all, force, &filters),
        Command::Daemon(daemon) => daemon::run(context, &daemon),
        Command::Tour => tour::run(),
        Command::Registry(command) => registry::run(context, command),
        Command::Save(save) => save::run(context, &save),
        Command::Load(load) => load::run(context, &load),
        Command::Import(import) => import::run(context, &import),
        Command::Copy(copy) => copy::run(context, &copy),
        Command::ManifestInspect(inspect) => manifest_inspect::run(context, &inspect),
        Command::Search(search) => search::run(context, &search),
        Command::Login(login) => login::run(context, &login),
        Command::Logout { server } => logout::run(context, server.as_deref()),
        Command::Container(command) => container::run(context, command),
        Command::Completion { shell, descriptions } => completion::script(shell, descriptions),
    }
}
