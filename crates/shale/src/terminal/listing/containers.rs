//! `shale ps`.

use jiff::Timestamp;
use serde_json::Value;
use shale_engine::containers::Status;

use super::{Clock, cell, short_id};
use crate::terminal::{
    age, screen,
    table::{Listing, row},
    template::TemplateError,
    units::human_size,
};

const TABLE: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

const LISTING: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    headings: &[
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Names", "NAMES"),
        ("Networks", "NETWORKS"),
        ("Ports", "PORTS"),
        ("RunningFor", "CREATED"),
        ("Size", "SIZE"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
};

/// A container as the engine knows it.
#[derive(Debug, Clone)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// The image's name, or its ID where the name leads elsewhere by now.
    pub image: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Where it is in its life.
    pub status: Status,
    /// How it ended.
    pub exit_code: i64,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// When it ended last.
    pub finished: Option<Timestamp>,
    /// Labels in their order.
    pub labels: Vec<(String, String)>,
    /// Names of volumes and sources of binds.
    pub mounts: Vec<String>,
    /// Its health in a word, where it is checked.
    pub health: Option<String>,
    /// The network.
    pub network: String,
    /// Bytes written, and bytes seen.
    pub size: Option<(u64, u64)>,
}

/// How to show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--format`.
    pub format: String,
    /// `--quiet`.
    pub quiet: bool,
    /// `--size`.
    pub size: bool,
    /// `--no-trunc`.
    pub no_trunc: bool,
}

/// Renders the listing.
///
/// Source: docker CLI 28.2 `cli/command/formatter/container.go`.
pub fn render(containers: &[Container], options: &Options, clock: &Clock) -> Result<String, TemplateError> {
    let format = match options.format.as_str() {
        "" | "table" if options.quiet => "{{.ID}}".to_owned(),
        "" | "table" if options.size => format!("{TABLE}\t{{{{.Size}}}}"),
        "" | "table" => TABLE.to_owned(),
        own => own.to_owned(),
    };
    let rows: Vec<Value> =
        containers.iter().map(|container| container_row(container, !options.no_trunc, clock)).collect();
    LISTING.render(&format, &rows)
}

fn container_row(container: &Container, is_short: bool, clock: &Clock) -> Value {
    let command = container.command.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ");
    let command = if is_short { screen::ellipsis(&command, 20).into_owned() } else { command };
    let image = match is_short && container.image.starts_with("sha256:") {
        true => short_id(&container.image).to_owned(),
        false => container.image.clone(),
    };
    let labels: Vec<String> =
        container.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let short_mount = |name: &String| match is_short {
        true => screen::ellipsis(name, 15).into_owned(),
        false => name.clone(),
    };
    let mounts: Vec<String> = container.mounts.iter().map(short_mount).collect();
    let volumes = container.mounts.iter().filter(|name| !name.starts_with('/')).count();
    let size = container.size.map_or_else(
        || "0B".to_owned(),
        |(written, seen)| match seen {
            0 => human_size(written),
            seen => format!("{} (virtual {})", human_size(written), human_size(seen)),
        },
    );
    row([
        ("Command", format!("\"{}\"", cell(&command))),
        ("CreatedAt", age::go_time(container.created, &clock.zone)),
        ("ID", if is_short { short_id(&container.id) } else { &container.id }.to_owned()),
        ("Image", cell(&image)),
        ("Labels", cell(&labels.join(","))),
        ("LocalVolumes", volumes.to_string()),
        ("Mounts", cell(&mounts.join(","))),
        ("Names", cell(&container.name)),
        ("Networks", cell(&container.network)),
        ("Ports", String::new()),
        ("RunningFor", age::ago(container.created, clock.now)),
        ("Size", size),
        ("State", container.status.word().to_owned()),
        ("Status", status(container, clock.now)),
    ])
}

/// Docker's words for a state and since when.
///
/// Source: moby `container/state.go` `String` at v20.10.24.
fn status(container: &Container, now: Timestamp) -> String {
    let since = |moment: Option<Timestamp>| age::ago(moment.unwrap_or(container.created), now);
    let up = || since(container.started).trim_end_matches(" ago").to_owned();
    match container.status {
        Status::Running => match container.health.as_deref() {
            None => format!("Up {}", up()),
            Some("starting") => format!("Up {} (health: starting)", up()),
            Some(health) => format!("Up {} ({health})", up()),
        },
        Status::Paused => format!("Up {} (Paused)", up()),
        Status::Restarting => format!("Restarting ({}) {}", container.exit_code, since(container.finished)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created => "Created".to_owned(),
        Status::Exited => format!("Exited ({}) {}", container.exit_code, since(container.finished)),
    }
}

/// A word of the command as Docker shows it: in single quotes where it has a blank.
fn shell_word(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn the_table_is_dockers() {
        let now: Timestamp = "2026-11-22T02:18:16Z".parse().unwrap();
        let clock = Clock { now, zone: TimeZone::UTC };
        let container =
            |id: &str, name: &str, command: &[&str], status, started: &str, finished: Option<&str>| {
                Container {
                    id: id.repeat(64),
                    name: name.to_owned(),
                    image: "busybox".to_owned(),
                    command: command.iter().map(|word| (*word).to_owned()).collect(),
                    created: started.parse().unwrap(),
                    status,
                    exit_code: 0,
                    started: Some(started.parse().unwrap()),
                    finished: finished.map(|moment| moment.parse().unwrap()),
                    labels: Vec::new(),
                    mounts: Vec::new(),
                    network: "none".to_owned(),
                    health: None,
                    size: None,
                }
            };
        let long = ["sh", "-c", "echo hi; echo err >&2; touch /new; rm /bin/vi; sleep 1000"];
        let containers = [
            container(
                "1",
                "ex",
                &["true"],
                Status::Exited,
                "2026-11-22T02:18:15Z",
                Some("2026-11-22T02:18:16Z"),
            ),
            container("f", "dk", &long, Status::Running, "2026-11-22T02:18:14Z", None),
        ];
        let text = render(&containers, &Options::default(), &clock).unwrap();
        // What docker ps -a of dockerd 20.10.24 printed for two such containers, IDs and ages aside.
        let expected = "\
CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS                              PORTS     NAMES
111111111111   busybox   \"true\"                   1 second ago    Exited (0) Less than a second ago             ex
ffffffffffff   busybox   \"sh -c 'echo hi; ech…\"   2 seconds ago   Up 2 seconds                                  dk
";
        assert_eq!(text, expected);
    }
}
