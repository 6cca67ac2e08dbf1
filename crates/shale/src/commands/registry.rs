//! `shale registry …`: the server, and what its operator does beside it.

mod serve;
mod wording;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use shale_oci::{Reference, Repository, Target};
use shale_registry::Config;
use shale_registry::commands::{self, Doomed};
use shale_registry::config::parse_duration;
use shale_registry::maintenance::collect::CollectRequest;

use super::Failure;
use crate::cli::RegistryCommand;
use crate::context::Context;
use crate::terminal::prompt;
use crate::terminal::units::human_size;

/// Where a registry keeps its files when root serves it.
const SYSTEM_ROOT: &str = "/var/lib/shale-registry";
/// Exit code for a value that a flag does not take, as docker's.
const EXIT_USAGE: u8 = 125;
/// The file of users in the directory of a registry.
const USERS_FILE: &str = "htpasswd";

/// Runs one of the commands.
pub fn run(context: &Context, command: RegistryCommand) -> Result<(), Failure> {
    match command {
        RegistryCommand::Serve(serve) => serve::run(context, serve),
        RegistryCommand::Gc { root, grace, untagged_after } => {
            let asked = CollectRequest {
                grace: duration("grace", grace)?,
                untagged_after: duration("untagged-after", untagged_after)?,
                ..CollectRequest::default()
            };
            gc(context, &config(root)?, asked)
        }
        RegistryCommand::Fsck { root, repair } => fsck(context, &config(root)?, repair),
        RegistryCommand::Import { root } => import(context, &config(Some(root))?),
        RegistryCommand::UserAdd { name, root, password_stdin } => user_add(root, &name, password_stdin),
        RegistryCommand::UserRemove { name, root } => user_remove(root, &name),
        RegistryCommand::Tags { repository, root } => tags(context, &repository, root),
        RegistryCommand::Repositories { registry, root } => repositories(context, registry.as_deref(), root),
        RegistryCommand::Delete { names, force, root } => delete(context, &names, force, root),
    }
}

/// Returns the directory to use: the one that was named, one that is here, or the system's.
fn root_or_default(root: Option<PathBuf>) -> PathBuf {
    let here = Config::default().root;
    match root {
        Some(root) => root,
        None if !here.exists() && crate::user_namespace::is_real_root() => SYSTEM_ROOT.into(),
        None => here,
    }
}

fn config(root: Option<PathBuf>) -> Result<Config, Failure> {
    let root = root_or_default(root);
    if !root.is_dir() {
        return Err(
            anyhow!("there is no registry at {}; name its directory with --root", root.display()).into()
        );
    }
    Ok(Config { root, ..Config::default() })
}

/// Reads the value of a flag of `registry gc`; a wrong one ends with docker's exit code for wrong flags.
fn duration(flag: &str, typed: Option<String>) -> Result<Option<Duration>, Failure> {
    let Some(text) = typed else { return Ok(None) };
    let duration = parse_duration(&text);
    if duration.is_none() {
        eprintln!(
            "invalid argument {text:?} for \"--{flag}\" flag: give a time such as 90s, 10m, 1h or 7d\n\
             See 'shale registry gc --help'."
        );
        return Err(Failure::Reported { exit_code: EXIT_USAGE });
    }
    Ok(duration)
}

fn gc(context: &Context, config: &Config, asked: CollectRequest) -> Result<(), Failure> {
    let collected = context.block_on(commands::gc(config, asked))?;
    println!("Untagged manifests: {}", collected.manifests);
    println!("Unused links:       {}", collected.links);
    println!("Blobs:              {}", collected.blobs);
    println!("Abandoned uploads:  {}", collected.uploads);
    println!("Empty repositories: {}", collected.repositories);
    println!("Total reclaimed space: {}", human_size(collected.bytes));
    Ok(())
}

fn fsck(context: &Context, config: &Config, repair: bool) -> Result<(), Failure> {
    let checked = context.block_on(commands::fsck(config, repair))?;
    for finding in &checked.findings {
        println!("{}", wording::finding(finding));
    }
    println!(
        "{} blobs ({}) and {} manifests checked, {} findings",
        checked.blobs,
        human_size(checked.bytes),
        checked.manifests,
        checked.findings.len()
    );
    if checked.findings.is_empty() { Ok(()) } else { Err(Failure::Reported { exit_code: 1 }) }
}

fn import(context: &Context, config: &Config) -> Result<(), Failure> {
    if !commands::is_volume(&config.root) {
        return Err(anyhow!(
            "{} holds no volume of a Docker registry (docker/registry/v2)",
            config.root.display()
        )
        .into());
    }
    let imported = context.block_on(commands::import(config, |so_far| {
        if so_far.repositories.is_multiple_of(100) {
            eprintln!("{} repositories, {} manifests …", so_far.repositories, so_far.manifests);
        }
    }))?;
    for damage in &imported.findings {
        println!("skipped {}: {}", damage.path, wording::damage(damage.kind));
    }
    if imported.findings_more > 0 {
        println!("skipped {} more", imported.findings_more);
    }
    println!(
        "{} repositories, {} tags, {} manifests and {} links to blobs taken over",
        imported.repositories, imported.tags, imported.manifests, imported.blobs
    );
    Ok(())
}

fn user_add(root: Option<PathBuf>, name: &str, password_stdin: bool) -> Result<(), Failure> {
    if !password_stdin && !io::stdin().is_terminal() {
        return Err(
            anyhow!("standard input is no terminal; --password-stdin takes the password from there").into()
        );
    }
    let root = root_or_default(root);
    std::fs::create_dir_all(&root).with_context(|| format!("could not create {}", root.display()))?;
    let password = if password_stdin {
        prompt::read_password(io::stdin())?
    } else {
        prompt::ask_password(&format!("Password of {name}"), &io::stdin(), io::stdout())?
    };
    let users = users_file(&root);
    let is_first = !users.exists();
    commands::add_user(&users, name, &password)?;
    println!("{name} may log in");
    // A server looks for users when it starts; that one goes on letting everybody in must not be a surprise.
    if is_first && commands::is_served(&root) {
        println!("The registry that runs on {} knows no users until it is started again", root.display());
    }
    Ok(())
}

fn user_remove(root: Option<PathBuf>, name: &str) -> Result<(), Failure> {
    let file = users_file(&root_or_default(root));
    if commands::remove_user(&file, name).with_context(|| format!("could not change {}", file.display()))? {
        println!("{name} may not log in any more");
        Ok(())
    } else {
        Err(anyhow!("there is no user {name:?}").into())
    }
}

fn users_file(root: &Path) -> PathBuf {
    root.join(USERS_FILE)
}

fn tags(context: &Context, repository: &str, root: Option<PathBuf>) -> Result<(), Failure> {
    let tags: Vec<String> = match remote(repository, &root) {
        Some(text) => {
            let repository = Repository::parse(text)?;
            let client = context.client()?;
            let tags = context.block_on(client.tags(&repository))?;
            tags.into_iter().map(|tag| tag.to_string()).collect()
        }
        None => context.block_on(commands::tags(&config(root)?, repository))?,
    };
    tags.iter().for_each(|tag| println!("{tag}"));
    Ok(())
}

fn repositories(context: &Context, registry: Option<&str>, root: Option<PathBuf>) -> Result<(), Failure> {
    let names: Vec<String> = match registry {
        Some(registry) => {
            let client = context.client()?;
            let repositories = context.block_on(client.catalog(registry))?;
            repositories.into_iter().map(|repository| repository.path().to_owned()).collect()
        }
        None => context.block_on(commands::repositories(&config(root)?))?,
    };
    names.iter().for_each(|name| println!("{name}"));
    Ok(())
}

fn delete(context: &Context, names: &[String], force: bool, root: Option<PathBuf>) -> Result<(), Failure> {
    if !force {
        let question =
            format!("This deletes {} for everybody.\nAre you sure you want to continue?", names.join(", "));
        if !prompt::confirm(&question, io::stdin(), io::stdout())? {
            return Ok(());
        }
    }
    for name in names {
        match remote(name, &root) {
            Some(text) => delete_remote(context, &Reference::parse(text)?)?,
            None => {
                // The grammar is that of references; a name without a host is one of the registry itself.
                let reference = Reference::parse(&format!("localhost/{name}"))?;
                let doomed = match (&reference.digest, &reference.tag) {
                    (Some(digest), _) => Doomed::Manifest(*digest),
                    (None, Some(tag)) => Doomed::Tag(tag.to_string()),
                    (None, None) => Doomed::Repository,
                };
                let config = config(root.clone())?;
                context.block_on(commands::delete(&config, reference.repository.path(), &doomed))?;
            }
        }
        println!("Deleted: {name}");
    }
    Ok(())
}

/// Deletes through the distribution API, which has no word for a repository: its tags go one by one.
fn delete_remote(context: &Context, reference: &Reference) -> Result<(), Failure> {
    let client = context.client()?;
    let repository = &reference.repository;
    context.block_on(async {
        if !reference.is_name_only() {
            client.delete_manifest(repository, &reference.target()).await?;
            return Ok::<(), Failure>(());
        }
        for tag in client.tags(repository).await? {
            client.delete_manifest(repository, &Target::Tag(tag)).await?;
        }
        Ok(())
    })
}

/// Returns the name if it begins with a host, so that it means a registry on the wire.
fn remote<'a>(name: &'a str, root: &Option<PathBuf>) -> Option<&'a str> {
    let host = name.split_once('/')?.0;
    let is_host = host == "localhost" || host.contains(['.', ':']);
    (is_host && root.is_none()).then_some(name)
}
