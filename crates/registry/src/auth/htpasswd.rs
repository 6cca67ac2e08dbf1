//! Users and bcrypt hashes of their passwords, one a line; the file is read again when it changes.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use shale_oci::Digest;
use tokio::sync::Semaphore;

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a password that was right need not be hashed again.
const REMEMBER: Duration = Duration::from_secs(300);
const REMEMBERED_MAX: usize = 10_000;
/// Passwords that are hashed at the same time.
const HASHED_AT_ONCE: usize = 2;
/// What a password is compared with when there is no such user: the cost of bcrypt must not tell that.
const NOBODY: &str = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8e3VEpWAZKgqbYw0xcZ8Pza0gEOpZC";
/// bcrypt's cost for passwords that are set here.
const COST: u32 = 10;

/// A file of users.
pub struct Htpasswd {
    path: PathBuf,
    // Keys what is remembered, so that a dump of the memory holds no password's plain hash.
    key: [u8; 32],
    state: Mutex<State>,
    turns: Semaphore,
}

#[derive(Default)]
struct State {
    users: HashMap<String, String>,
    seen: Option<(SystemTime, u64)>,
    looked: Option<Instant>,
    right: HashMap<Digest, Instant>,
}

impl Htpasswd {
    /// Opens a file of users.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> io::Result<Htpasswd> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let htpasswd = Htpasswd {
            path: path.to_owned(),
            key,
            state: Mutex::default(),
            turns: Semaphore::new(HASHED_AT_ONCE),
        };
        fs::metadata(path)?;
        htpasswd.look(&mut htpasswd.state());
        Ok(htpasswd)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, state: &mut State) {
        if state.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        state.looked = Some(Instant::now());
        let read = fs::metadata(&self.path).and_then(|metadata| {
            let seen = (metadata.modified()?, metadata.len());
            if state.seen == Some(seen) {
                return Ok(None);
            }
            fs::read_to_string(&self.path).map(|text| Some((seen, text)))
        });
        match read {
            Ok(Some((seen, text))) => {
                state.users = parse(&text);
                state.seen = Some(seen);
                state.right.clear();
            }
            Ok(None) => {}
            // The users known so far stay: a file that is being replaced must not lock everybody out.
            Err(error) => tracing::warn!("could not read {}: {error}", self.path.display()),
        }
    }

    fn pair_mark(&self, user: &str, password: &str) -> Digest {
        Digest::sha256(&[&self.key[..], user.as_bytes(), b"\0", password.as_bytes()].concat())
    }

    /// Returns whether `password` was that of `user` lately, and still is.
    pub fn remembers(&self, user: &str, password: &str) -> bool {
        let mark = self.pair_mark(user, password);
        let mut state = self.state();
        self.look(&mut state);
        state.right.get(&mark).is_some_and(|at| at.elapsed() < REMEMBER)
    }

    /// Returns whether `password` is that of `user`.
    pub async fn verify(&self, user: &str, password: &str) -> bool {
        let mark = self.pair_mark(user, password);
        let hash = {
            let mut state = self.state();
            self.look(&mut state);
            state.users.get(user).cloned()
        };
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        // bcrypt reads 72 bytes and no more; what it would cut off is refused.
        let password = if password.len() <= 72 { password.to_owned() } else { return false };
        let compared = hash.clone();
        // bcrypt is slow on purpose: whoever guesses must not get every processor.
        let _turn = self.turns.acquire().await;
        let right = tokio::task::spawn_blocking(move || bcrypt::verify(password, &compared).unwrap_or(false));
        let right = right.await.unwrap_or(false) && known;
        if right {
            let mut state = self.state();
            if state.right.len() >= REMEMBERED_MAX {
                state.right.clear();
            }
            if state.users.get(user) == Some(&hash) {
                state.right.insert(mark, Instant::now());
            }
        }
        right
    }

    /// Returns a mark of the hash that a user has now.
    pub fn mark(&self, user: &str) -> Option<String> {
        let mut state = self.state();
        self.look(&mut state);
        state.users.get(user).map(|hash| Digest::sha256(hash.as_bytes()).short())
    }
}

fn parse(text: &str) -> HashMap<String, String> {
    let mut users = HashMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(':') {
            Some((user, hash)) if ["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind)) => {
                users.insert(user.to_owned(), hash.to_owned());
            }
            Some((user, _)) => {
                tracing::warn!("the password of {user:?} is not hashed with bcrypt and is ignored")
            }
            None => tracing::warn!("a line of the file of users has no colon and is ignored"),
        }
    }
    users
}

/// Why a user was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddUserError {
    /// A name that the file cannot hold.
    #[error("a user name is not empty and has no colon and no control characters")]
    Name,
    /// A password that bcrypt would cut.
    #[error("a password has 1 to 72 bytes")]
    Password,
    /// The file cannot be written.
    #[error("could not write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Adds a user to the file at `path`, or gives one that is there another password. Makes the file when it is missing.
///
/// # Errors
/// [`AddUserError`]; the file is as it was.
pub fn add_user(path: &Path, user: &str, password: &str) -> Result<(), AddUserError> {
    if user.is_empty() || user.contains(':') || user.starts_with('#') || user.chars().any(char::is_control) {
        return Err(AddUserError::Name);
    }
    if password.is_empty() || password.len() > 72 {
        return Err(AddUserError::Password);
    }
    let failed = |source| AddUserError::Write { path: path.to_owned(), source };
    let hash = bcrypt::hash(password, COST).map_err(|error| failed(io::Error::other(error)))?;
    rewrite(path, user, Some(&hash)).map(drop).map_err(failed)
}

/// Removes a user from the file at `path`; returns whether they were there.
///
/// # Errors
/// When the file cannot be read or written; it is as it was.
pub fn remove_user(path: &Path, user: &str) -> io::Result<bool> {
    rewrite(path, user, None)
}

fn rewrite(path: &Path, user: &str, hash: Option<&str>) -> io::Result<bool> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && hash.is_some() => String::new(),
        read => read?,
    };
    let is_theirs = |line: &&str| line.split_once(':').is_some_and(|(name, _)| name == user);
    let existed = text.lines().any(|line| is_theirs(&line));
    let mut lines: Vec<String> = text.lines().filter(|line| !is_theirs(line)).map(str::to_owned).collect();
    lines.extend(hash.map(|hash| format!("{user}:{hash}")));
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()?;
    Ok(existed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn users_come_and_go_with_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        // Written by Apache's htpasswd -nbB, password "secret".
        add_user(&path, "ann", "secret").unwrap();
        add_user(&path, "bob", "other").unwrap();
        let htpasswd = Htpasswd::open(&path).unwrap();
        assert!(htpasswd.verify("ann", "secret").await);
        assert!(htpasswd.verify("ann", "secret").await);
        assert!(!htpasswd.verify("ann", "Secret").await);
        assert!(!htpasswd.verify("nobody", "secret").await);
        assert!(!htpasswd.verify("ann", &"x".repeat(100)).await);
        assert!(remove_user(&path, "ann").unwrap());
        assert!(!remove_user(&path, "ann").unwrap());
        htpasswd.state().looked = None;
        assert!(!htpasswd.verify("ann", "secret").await);
        assert!(htpasswd.verify("bob", "other").await);
        assert!(add_user(&path, "a:b", "x").is_err() && add_user(&path, "a", "").is_err());
    }
}
