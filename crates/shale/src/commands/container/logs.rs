//! `shale logs`.

use std::io::{self, Write};

use anyhow::anyhow;
use jiff::Timestamp;
use shale_engine::images::filter::Filter;
use shale_runtime::log::{LogOptions, LogReader, LogStream};

use crate::cli::container::Logs;
use crate::commands::Failure;
use crate::context::Context;
use crate::terminal::output;

/// Prints what a container wrote, each stream to its own.
pub fn run(context: &Context, logs: &Logs) -> Result<(), Failure> {
    let engine = context.engine_to_look()?;
    let record = engine.find_container(&logs.container)?;
    let now = Timestamp::now();
    let moment = |typed: &Option<String>, flag: &str| -> Result<Option<Timestamp>, Failure> {
        let Some(text) = typed else { return Ok(None) };
        match Filter::parse(&format!("until={text}"), now) {
            Ok(Filter::Until(moment)) => Ok(Some(moment)),
            _ => Err(anyhow!(
                "invalid value for {flag:?}: failed to parse value as time or duration: {text:?}"
            )
            .into()),
        }
    };
    // Anything but a number is everything, as in Docker.
    let tail = logs.tail.as_deref().and_then(|tail| tail.parse().ok());
    let options =
        LogOptions { tail, since: moment(&logs.since, "since")?, until: moment(&logs.until, "until")? };
    let mut reader = LogReader::open(&engine.container_log(&record)?, options)?;
    let mut stdout = io::BufWriter::new(output::unbuffered_stdout()?);
    let mut stderr = io::stderr().lock();
    loop {
        let entry = match reader.next_entry()? {
            Some(entry) => Some(entry),
            None if logs.follow => {
                stdout.flush()?;
                reader.follow(|| {
                    let record = engine.container_record(&record.id);
                    !matches!(record, Ok(Some(record)) if record.is_running())
                })?
            }
            None => None,
        };
        let Some(entry) = entry else { break };
        let mut line = String::new();
        if logs.timestamps {
            line.push_str(&format!("{:.9} ", entry.time));
        }
        if logs.details {
            line.push(' ');
        }
        line.push_str(&entry.line);
        match entry.stream {
            LogStream::Stdout => stdout.write_all(line.as_bytes())?,
            LogStream::Stderr => {
                stdout.flush()?;
                stderr.write_all(line.as_bytes())?;
            }
        }
    }
    Ok(stdout.flush()?)
}
