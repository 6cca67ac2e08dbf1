//! `shale commit`, `rename` and `update`.

use serde_json::json;
use shale_engine::containers::commit::Commit;
use shale_engine::images::tag::{TagError, parse_tag_target};
use shale_oci::Reference;

use super::each;
use super::request::{byte_count, nano_cpus, restart_policy};
use crate::cli::container::{CommitImage, UpdateLimits};
use crate::commands::Failure;
use crate::context::Context;

/// Makes an image of what a container wrote, and prints its ID.
pub fn commit(context: &Context, command: &CommitImage) -> Result<(), Failure> {
    let commit = Commit {
        reference: command.reference.as_deref().map(name).transpose()?,
        author: command.author.clone().unwrap_or_default(),
        message: command.message.clone().unwrap_or_default(),
        changes: command.changes.clone(),
        config: None,
        without_pause: !command.pause,
    };
    let image = context.engine()?.commit_container(&command.container, &commit, &jiff::Zoned::now())?;
    println!("{image}");
    Ok(())
}

/// Parses the new name; of what is wrong with it docker says less here than when it tags.
fn name(typed: &str) -> anyhow::Result<Reference> {
    parse_tag_target(typed).map_err(|error| match error {
        TagError::Reference(_, error) => error.into(),
        error => error.into(),
    })
}

/// Gives a container another name.
pub fn rename(context: &Context, container: &str, name: &str) -> Result<(), Failure> {
    let container = container.trim();
    if container.is_empty() || name.trim().is_empty() {
        return Err(anyhow::anyhow!("Neither old nor new names may be empty").into());
    }
    context.engine()?.rename_container(container, name.trim()).map_err(|error| {
        super::complain(&error);
        anyhow::anyhow!("failed to rename container named {container}").into()
    })
}

/// Gives containers other limits.
pub fn update(context: &Context, command: &UpdateLimits) -> Result<(), Failure> {
    let mut changes = json!({});
    for (key, value) in [
        ("BlkioWeight", command.blkio_weight),
        ("CpuPeriod", command.cpu_period),
        ("CpuQuota", command.cpu_quota),
        ("CpuShares", command.cpu_shares),
        ("PidsLimit", command.pids_limit),
    ] {
        if let Some(value) = value {
            changes[key] = value.into();
        }
    }
    for (key, value) in [("CpusetCpus", &command.cpuset_cpus), ("CpusetMems", &command.cpuset_mems)] {
        if let Some(value) = value {
            changes[key] = value.clone().into();
        }
    }
    if let Some(cpus) = &command.cpus {
        changes["NanoCpus"] = nano_cpus(cpus)?.into();
    }
    if let Some(memory) = &command.memory {
        changes["Memory"] = byte_count("memory", memory)?.into();
    }
    if let Some(reservation) = &command.memory_reservation {
        changes["MemoryReservation"] = byte_count("memory-reservation", reservation)?.into();
    }
    match command.memory_swap.as_deref() {
        Some("-1") => changes["MemorySwap"] = (-1).into(),
        Some(swap) => changes["MemorySwap"] = byte_count("memory-swap", swap)?.into(),
        None => {}
    }
    if let Some(policy) = &command.restart {
        changes["RestartPolicy"] = restart_policy(policy)?;
    }
    let engine = context.engine()?;
    each(&command.containers, |container| engine.update_container(container, &changes).map(|()| None))
}
