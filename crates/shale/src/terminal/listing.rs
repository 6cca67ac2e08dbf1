//! The listings: which fields a row has, how each is shown, and the default tables.
//!
//! Plain values in; the time and the time zone come with the call.

pub mod containers;
pub mod disk_usage;
pub mod history;
pub mod image_tree;
pub mod images;
pub mod inspect;
pub mod search;
pub mod stats;
pub mod system;

use jiff::{Timestamp, tz::TimeZone};

use super::screen;

/// Now and here: what ages and local times are relative to.
#[derive(Debug, Clone)]
pub struct Clock {
    /// The current time.
    pub now: Timestamp,
    /// The zone of CREATED AT.
    pub zone: TimeZone,
}

impl Clock {
    /// Returns the clock and the zone of this machine.
    pub fn of_system() -> Clock {
        Clock { now: Timestamp::now(), zone: TimeZone::system() }
    }
}

/// Returns the first twelve characters after the algorithm, as docker shortens ids.
pub fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// Returns text from outside made safe for a table cell: no control characters, so no tabs or line breaks either.
fn cell(text: &str) -> String {
    screen::escape(text).into_owned()
}
