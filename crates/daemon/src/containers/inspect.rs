//! `GET /containers/{id}/json` and `…/top`.

use serde_json::json;
use shale_engine_api::ApiVersion;

use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;

/// Tells all about a container.
pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let has_size = call.query.is_on("size");
    let mut described = daemon
        .blocking(move |engine| {
            let record = engine.find_container(&name)?;
            engine.container_document(&record, has_size).map_err(|error| Failure::internal(&error))
        })
        .await?;
    let execs = daemon.execs.of_container(described["Id"].as_str().unwrap_or_default());
    if !execs.is_empty() {
        described["ExecIDs"] = json!(execs);
    }
    super::list::shape_network(&mut described["NetworkSettings"], call.version);
    if call.version >= ApiVersion::one(42)
        && let Some(host) = described["HostConfig"].as_object_mut()
    {
        // Gone with the kernel's own: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
        host.shift_remove("KernelMemory");
        if call.version >= ApiVersion::one(43) {
            host.shift_remove("KernelMemoryTCP");
        }
    }
    Ok(document(&described))
}

/// Lists the processes of a container, as the host's `ps` shows them.
pub(crate) async fn top(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let arguments: Vec<String> =
        call.query.text("ps_args").unwrap_or("-ef").split_ascii_whitespace().map(str::to_owned).collect();
    let record = daemon.container(&name).await?;
    let id = record.id.clone();
    let rows = daemon
        .blocking(move |engine| {
            let (_, container) = engine.running_container(&id)?;
            container.top(&arguments).map_err(Failure::from)
        })
        .await?;
    daemon.container_event(&record, "top", &[]);
    let (titles, processes) = rows.split_first().map_or((&[][..], &[][..]), |(first, rest)| (first, rest));
    Ok(document(&json!({ "Processes": processes, "Titles": titles })))
}
