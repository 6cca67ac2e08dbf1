//! `shale system df`.

use serde_json::Value;

use super::{
    Clock, cell,
    images::{self, Image},
    short_id,
};
use crate::terminal::{
    json, screen,
    table::{Listing, row},
    template::{Subject, Template, TemplateError},
    units::human_size,
};

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

const LISTING: Listing = Listing {
    type_name: "*formatter.diskUsageImagesContext",
    headings: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
};

const CONTAINERS: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    headings: &[
        ("Command", "COMMAND"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Names", "NAMES"),
        ("RunningFor", "CREATED"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
};

const VOLUMES: Listing = Listing {
    type_name: "*formatter.volumeContext",
    headings: &[("Links", "LINKS"), ("Name", "VOLUME NAME"), ("Size", "SIZE")],
};

const BUILD_CACHE: Listing = Listing {
    type_name: "*formatter.buildCacheContext",
    headings: &[
        ("CacheType", "CACHE TYPE"),
        ("CreatedSince", "CREATED"),
        ("ID", "CACHE ID"),
        ("LastUsedSince", "LAST USED"),
        ("Shared", "SHARED"),
        ("Size", "SIZE"),
        ("UsageCount", "USAGE"),
    ],
};

/// How much of one kind there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many.
    pub total: u64,
    /// How many of them are in use.
    pub active: u64,
    /// Bytes on the disk.
    pub size_bytes: u64,
    /// Bytes that a prune would free.
    pub reclaimable_bytes: u64,
}

/// Everything that takes space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskUsage {
    /// Images.
    pub images: Usage,
    /// Containers.
    pub containers: Usage,
    /// Volumes.
    pub volumes: Usage,
    /// Build cache.
    pub build_cache: Usage,
    /// The images, for `--verbose`.
    pub every_image: Vec<Image>,
    /// The containers, for `--verbose`.
    pub every_container: Vec<Container>,
    /// The volumes, for `--verbose`.
    pub every_volume: Vec<Volume>,
    /// The cache records, for `--verbose`.
    pub every_cache_record: Vec<CacheRecord>,
}

/// A container in `system df --verbose`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The image as it was named when the container was made.
    pub image: String,
    /// The command, unquoted.
    pub command: String,
    /// Number of local volumes it mounts.
    pub local_volumes: u64,
    /// Bytes of its own layer.
    pub size_bytes: u64,
    /// Age in words: `3 seconds ago`.
    pub running_for: String,
    /// `Created`, `Up 3 seconds`, `Exited (0) 3 seconds ago`.
    pub status: String,
    /// Its names, joined by commas.
    pub names: String,
}

/// A volume in `system df --verbose`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Volume {
    /// The name.
    pub name: String,
    /// Containers that mount it.
    pub links: u64,
    /// Bytes in it.
    pub size_bytes: u64,
}

/// A record of the build cache in `system df --verbose`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheRecord {
    /// The id.
    pub id: String,
    /// `regular`, `source.local`, ….
    pub cache_type: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Age in words.
    pub created_since: String,
    /// Last use in words; empty when never.
    pub last_used_since: String,
    /// How often it was used.
    pub usage_count: u64,
    /// Whether others share its data.
    pub is_shared: bool,
}

/// Renders the usage; `format` empty means `table`.
///
/// # Errors
/// When `format` does not fit.
///
/// Source: docker CLI 28.2 `formatter.DiskUsageContext`.
pub fn render(
    usage: &DiskUsage,
    format: &str,
    verbose: bool,
    clock: &Clock,
) -> Result<String, TemplateError> {
    let is_default = matches!(format, "" | "table");
    match verbose {
        true if is_default => render_tables(usage, clock),
        true => render_document(usage, format, clock),
        false => LISTING.render(if is_default { TABLE } else { format }, &summary_rows(usage)),
    }
}

fn summary_rows(usage: &DiskUsage) -> Vec<Value> {
    [
        ("Images", usage.images),
        ("Containers", usage.containers),
        ("Local Volumes", usage.volumes),
        ("Build Cache", usage.build_cache),
    ]
    .into_iter()
    .map(|(name, usage)| {
        let percent = match usage.size_bytes {
            0 => String::new(),
            _ if name == "Build Cache" => String::new(),
            size => format!(" ({}%)", u128::from(usage.reclaimable_bytes) * 100 / u128::from(size)),
        };
        row([
            ("Active", usage.active.to_string()),
            ("Reclaimable", human_size(usage.reclaimable_bytes) + &percent),
            ("Size", human_size(usage.size_bytes)),
            ("TotalCount", usage.total.to_string()),
            ("Type", name.to_owned()),
        ])
    })
    .collect()
}

fn render_tables(usage: &DiskUsage, clock: &Clock) -> Result<String, TemplateError> {
    const CONTAINER_TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
    const VOLUME_TABLE: &str = "table {{.Name}}\t{{.Links}}\t{{.Size}}";
    const CACHE_TABLE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";
    let images = images::render_usage(&usage.every_image, clock)?;
    let containers = CONTAINERS.render(CONTAINER_TABLE, &container_rows(usage, true))?;
    let volumes = VOLUMES.render(VOLUME_TABLE, &volume_rows(usage))?;
    let cache = BUILD_CACHE.render(CACHE_TABLE, &cache_rows(usage, true))?;
    let cache_size = human_size(usage.build_cache.size_bytes);
    Ok(format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\nLocal Volumes space usage:\n\n{volumes}\n\
         Build cache usage: {cache_size}\n\n{cache}"
    ))
}

/// With a format, `--verbose` renders one document that holds every list; docker ends it without a line break.
fn render_document(usage: &DiskUsage, format: &str, clock: &Clock) -> Result<String, TemplateError> {
    let document = serde_json::json!({
        "Images": images::usage_rows(&usage.every_image, false, clock),
        "Containers": container_rows(usage, false),
        "Volumes": volume_rows(usage),
        "BuildCache": cache_rows(usage, false),
    });
    if matches!(format, "json" | "{{json .}}") {
        return Ok(json::compact(&document, json::Escape::Html));
    }
    let source = format.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
    Template::parse(&source)?.render(&document, Subject::Row("*formatter.diskUsageContext"))
}

fn container_rows(usage: &DiskUsage, is_short: bool) -> Vec<Value> {
    const COMMAND_COLUMNS: usize = 20;
    let row = |container: &Container| {
        let command = cell(&container.command);
        let command =
            if is_short { screen::ellipsis(&command, COMMAND_COLUMNS) } else { command.as_str().into() };
        row([
            ("Command", format!("\"{}\"", command.replace('"', "\\\""))),
            ("ID", if is_short { short_id(&container.id) } else { &container.id }.to_owned()),
            ("Image", cell(&container.image)),
            ("LocalVolumes", container.local_volumes.to_string()),
            ("Names", cell(&container.names)),
            ("RunningFor", container.running_for.clone()),
            ("Size", human_size(container.size_bytes)),
            ("Status", container.status.clone()),
        ])
    };
    usage.every_container.iter().map(row).collect()
}

fn volume_rows(usage: &DiskUsage) -> Vec<Value> {
    let row = |volume: &Volume| {
        row([
            ("Links", volume.links.to_string()),
            ("Name", cell(&volume.name)),
            ("Size", human_size(volume.size_bytes)),
        ])
    };
    usage.every_volume.iter().map(row).collect()
}

fn cache_rows(usage: &DiskUsage, is_short: bool) -> Vec<Value> {
    let row = |record: &CacheRecord| {
        row([
            ("CacheType", cell(&record.cache_type)),
            ("CreatedSince", record.created_since.clone()),
            ("ID", if is_short { short_id(&record.id) } else { &record.id }.to_owned()),
            ("LastUsedSince", record.last_used_since.clone()),
            ("Shared", record.is_shared.to_string()),
            ("Size", human_size(record.size_bytes)),
            ("UsageCount", record.usage_count.to_string()),
        ])
    };
    usage.every_cache_record.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::images::tests::{clock, golden, recorded_images},
        *,
    };

    /// The state behind the transcripts df-01 and df-03.
    fn recorded_summary() -> DiskUsage {
        DiskUsage {
            images: Usage { total: 14, active: 1, size_bytes: 77_483_000, reclaimable_bytes: 77_482_000 },
            containers: Usage { total: 1, ..Usage::default() },
            ..DiskUsage::default()
        }
    }

    fn some_clock() -> Clock {
        Clock { now: jiff::Timestamp::UNIX_EPOCH, zone: jiff::tz::TimeZone::UTC }
    }

    #[test]
    fn the_recorded_summary_comes_out() {
        let mut usage = recorded_summary();
        usage.images.reclaimable_bytes = usage.images.size_bytes;
        assert_eq!(
            render(&usage, "", false, &some_clock()).unwrap(),
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images          14        1         77.48MB   77.48MB (100%)\n\
             Containers      1         0         0B        0B\n\
             Local Volumes   0         0         0B        0B\n\
             Build Cache     0         0         0B        0B\n"
        );
        assert_eq!(
            render(&usage, "json", false, &some_clock()).unwrap().lines().next(),
            Some(
                r#"{"Active":"1","Reclaimable":"77.48MB (100%)","Size":"77.48MB","TotalCount":"14","Type":"Images"}"#
            )
        );
    }

    #[test]
    fn the_share_that_can_be_freed_is_cut_not_rounded() {
        // Integer division, as in docker: 77,482,000 of 77,483,000 bytes are 99%.
        let shown = render(&recorded_summary(), "{{.Reclaimable}}", false, &some_clock()).unwrap();
        assert_eq!(shown.lines().next(), Some("77.48MB (99%)"));
    }

    #[test]
    fn the_recorded_verbose_tables_come_out() {
        let mut every_image = recorded_images("28.5.2/api/images_json_shared-size_1.json");
        let is_app = |image: &Image| image.tags.iter().any(|(repository, _)| repository == "fx/app");
        every_image.iter_mut().for_each(|image| image.containers = Some(is_app(image).into()));
        let clock = clock(&every_image, 6);
        let usage = DiskUsage {
            every_container: vec![Container {
                id: "a8aeb04e6386".into(),
                image: "fx/app:1".into(),
                command: "/bin/sh -c 'cat /app/copied.txt'".into(),
                running_for: "4 seconds ago".into(),
                status: "Created".into(),
                names: "fxc".into(),
                ..Container::default()
            }],
            every_image,
            ..DiskUsage::default()
        };
        assert_eq!(render(&usage, "", true, &clock).unwrap(), golden("28.5.2/cli-28.2/system-df-v.txt"));
    }
}
