//! The endpoints of containers and of processes in them.

pub(crate) mod attach;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod inspect;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod lives;
pub(crate) mod logs;
pub(crate) mod remove;
mod spelling;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod wait;

use shale_engine::containers::Record;

use crate::answer::Answer;
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;
use crate::route::OfContainer as Of;

/// Answers what is asked of one container.
pub(crate) async fn answer(
    daemon: &Daemon,
    call: &Call,
    body: RequestBody,
    of: Of,
    name: String,
) -> Result<Answer, Failure> {
    match of {
        Of::Inspect => inspect::answer(daemon, call, name).await,
        Of::Start => start::answer(daemon, name).await,
        Of::Stop => lifecycle::stop(daemon, call, name).await,
        Of::Restart => lifecycle::restart(daemon, call, name).await,
        Of::Kill => lifecycle::kill(daemon, call, name).await,
        Of::Pause => lifecycle::pause(daemon, name, true).await,
        Of::Unpause => lifecycle::pause(daemon, name, false).await,
        Of::Rename => lifecycle::rename(daemon, call, name).await,
        Of::Update => lifecycle::update(daemon, call, body, name).await,
        Of::Resize => lifecycle::resize(daemon, call, name).await,
        Of::Wait => wait::answer(daemon, call, name).await,
        Of::Attach => attach::answer(daemon, call, name).await,
        Of::Remove => remove::remove(daemon, call, name).await,
        Of::Logs => logs::answer(daemon, call, name).await,
        Of::Top => inspect::top(daemon, call, name).await,
        Of::Stats => stats::answer(daemon, call, name).await,
        Of::Changes => files::changes(daemon, name).await,
        Of::Export => files::export(daemon, name).await,
        Of::StatArchive => files::stat(daemon, call, name).await,
        Of::GetArchive => files::get(daemon, call, name).await,
        Of::PutArchive => files::put(daemon, call, body, name).await,
        Of::Exec => exec::create(daemon, call, body, name).await,
    }
}

impl Daemon {
    /// Finds a container by its name or ID.
    pub(crate) async fn container(&self, name: &str) -> Result<Record, Failure> {
        let name = name.to_owned();
        self.blocking(move |engine| engine.find_container(&name)).await
    }
}
