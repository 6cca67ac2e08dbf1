//! `shale system df`.

use jiff::Timestamp;
use shale_engine::images::usage::ContainerUsage;

use super::{Failure, images};
use crate::context::Context;
use crate::terminal::age::ago;
use crate::terminal::listing::Clock;
use crate::terminal::listing::disk_usage::{Container, DiskUsage, Usage, Volume, render};

/// Prints how much space everything takes.
pub fn run(context: &Context, format: &str, verbose: bool) -> Result<(), Failure> {
    let clock = Clock::of_system();
    let usage = context.engine_to_look()?.disk_usage()?;
    let images = Usage {
        total: usage.images.len() as u64,
        active: usage.images.iter().filter(|image| image.containers > 0).count() as u64,
        size_bytes: usage.layers_size_bytes,
        reclaimable_bytes: usage.reclaimable_images_bytes(),
    };
    let every_image = usage.images.iter().map(|summary| {
        let mut image = images::row(summary);
        image.shared_size_bytes = u64::try_from(summary.shared_size_bytes).ok();
        image.containers = u64::try_from(summary.containers).ok();
        image
    });
    let every_container = usage.containers.iter().map(|container| row(container, clock.now));
    let every_volume = usage.volumes.iter().map(|volume| Volume {
        name: volume.name.clone(),
        links: volume.links,
        size_bytes: volume.size_bytes,
    });
    let is_idle = |container: &&ContainerUsage| {
        let state = &container.state;
        !(state.running || state.paused || state.restarting)
    };
    let idle: Vec<_> = usage.containers.iter().filter(is_idle).collect();
    let document = DiskUsage {
        images,
        containers: Usage {
            total: usage.containers.len() as u64,
            active: (usage.containers.len() - idle.len()) as u64,
            size_bytes: usage.containers.iter().map(|container| container.size_bytes).sum(),
            reclaimable_bytes: idle.iter().map(|container| container.size_bytes).sum(),
        },
        volumes: Usage {
            total: usage.volumes.len() as u64,
            active: usage.volumes.iter().filter(|volume| volume.links > 0).count() as u64,
            size_bytes: usage.volumes.iter().map(|volume| volume.size_bytes).sum(),
            reclaimable_bytes: usage
                .volumes
                .iter()
                .filter(|volume| volume.links == 0)
                .map(|volume| volume.size_bytes)
                .sum(),
        },
        every_image: every_image.collect(),
        every_container: every_container.collect(),
        every_volume: every_volume.collect(),
        ..DiskUsage::default()
    };
    print!("{}", render(&document, format, verbose, &clock)?);
    Ok(())
}

fn row(container: &ContainerUsage, now: Timestamp) -> Container {
    Container {
        id: container.id.clone(),
        image: container.image.clone(),
        command: container.command.clone(),
        local_volumes: container.volumes,
        size_bytes: container.size_bytes,
        running_for: ago(container.created, now),
        status: status(container, now),
        names: container.name.clone(),
    }
}

/// Returns what a container does in Docker's words.
///
/// Source: moby `container/state.go` `String` at v28.5.2.
fn status(container: &ContainerUsage, now: Timestamp) -> String {
    let state = &container.state;
    let since = |time: Option<Timestamp>| {
        let text = ago(time.unwrap_or(Timestamp::UNIX_EPOCH), now);
        text.strip_suffix(" ago").map_or(text.clone(), str::to_owned)
    };
    match () {
        () if state.running && state.paused => format!("Up {} (Paused)", since(state.started)),
        () if state.running && state.restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(state.finished))
        }
        () if state.running && !state.health.is_empty() && state.health != "none" => {
            let health = if state.health == "starting" { "health: starting" } else { &state.health };
            format!("Up {} ({health})", since(state.started))
        }
        () if state.running => format!("Up {}", since(state.started)),
        () if state.removing => "Removal In Progress".to_owned(),
        () if state.dead => "Dead".to_owned(),
        () if state.started.is_none() => "Created".to_owned(),
        () if state.finished.is_none() => String::new(),
        () => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
    }
}
