//! How a running server is found: the files that it keeps while it runs, and whether its process is still that one.
//!
//! A server leaves [`SERVER_FILE`] in its data directory, unless it is a role alone, whose directories are laid out
//! as Apache's, and in the directory of its name below the user's data directory. Both go when it goes. One that was
//! killed leaves them behind, and its process id may be anybody's by then: so the file also tells when the process
//! began, and who finds it compares.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::config::{self, Role, Settings};
use crate::server::Endpoints;

/// The file by which `status`, `stop` and others find the server.
const SERVER_FILE: &str = "server.json";
/// The file beside it while the server starts, which says what it is at.
const STARTING_FILE: &str = "starting.json";
/// Attempts to make a directory that another server may be removing.
const MAKE_TRIES: usize = 3;

/// What [`SERVER_FILE`] holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Whereabouts {
    /// Where the server listens.
    #[serde(flatten)]
    pub(super) endpoints: Endpoints,
    /// Which of the processes that had this id it is.
    #[serde(default)]
    process_start: String,
}

impl Whereabouts {
    /// Says whether the server's process is there.
    pub(super) fn is_running(&self) -> bool {
        is_running(self.endpoints.pid, &self.process_start)
    }
}

/// What [`STARTING_FILE`] holds.
#[derive(Serialize, Deserialize)]
struct Starting {
    pid: u32,
    #[serde(default)]
    process_start: String,
    /// A line for a person.
    doing: String,
}

/// Tells who looks into a data directory what the start of this process is at; a [`Role`] alone tells nobody.
pub(super) fn tell_start(settings: &Settings, doing: &str) {
    if settings.role != Role::Everything {
        return;
    }
    let starting = Starting { pid: std::process::id(), process_start: own_start(), doing: doing.to_owned() };
    let text = serde_json::to_string(&starting).expect("words are always JSON");
    if let Err(cause) = write_whole(&settings.data_dir.join(STARTING_FILE), &text) {
        tracing::debug!(%cause, "nobody else will see how far the start is");
    }
}

/// Takes back what [`tell_start`] told.
pub(super) fn end_start(settings: &Settings) {
    if settings.role == Role::Everything {
        let _ = std::fs::remove_file(settings.data_dir.join(STARTING_FILE));
    }
}

/// The files that lead to the server of this process; they go when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Each file with what it holds.
    files: Vec<(PathBuf, String)>,
    /// Directories that were made for them, the innermost first.
    made: Vec<PathBuf>,
}

impl Signs {
    /// Writes them. Fails, with a line for a person, when the data directory takes none; without a place under its name
    /// the server runs all the same, and the log says so.
    pub(super) fn write(endpoints: &Endpoints, settings: &Settings) -> Result<Self, String> {
        let mut signs = Self::default();
        let own = Whereabouts { endpoints: endpoints.clone(), process_start: own_start() };
        let text = serde_json::to_string(&own).expect("addresses are always JSON") + "\n";
        if settings.role == Role::Everything {
            let file = endpoints.data_dir.join(SERVER_FILE);
            let told = |cause| format!("cannot write {}: {cause}", file.display());
            write_whole(&file, &text).map_err(told)?;
            signs.files.push((file, text.clone()));
        }
        let Ok(named) = config::data_dir(Some(&endpoints.name), None) else {
            tracing::debug!(name = endpoints.name, "nobody finds this server by its name");
            return Ok(signs);
        };
        if settings.role == Role::Everything && named == endpoints.data_dir {
            return Ok(signs);
        }
        if let Ok(Some(other)) = read(&named).map(|found| found.filter(Whereabouts::is_running)) {
            let (name, pid) = (&endpoints.name, other.endpoints.pid);
            tracing::info!("process {pid} runs as {name}, too, and is the one that --name {name} finds");
        } else if let Err(cause) = signs.write_named(&named, text) {
            tracing::warn!(
                "nobody finds this server by its name: cannot write to {}: {cause}",
                named.display()
            );
        }
        Ok(signs)
    }

    fn write_named(&mut self, directory: &Path, text: String) -> io::Result<()> {
        let file = directory.join(SERVER_FILE);
        self.made = directory.ancestors().take_while(|path| !path.exists()).map(PathBuf::from).collect();
        // A server that ends removes the directories that it made, perhaps just before this one writes there.
        let mut tries = 1;
        while let Err(cause) = std::fs::create_dir_all(directory).and_then(|()| write_whole(&file, &text)) {
            if tries == MAKE_TRIES {
                return Err(cause);
            }
            tries += 1;
        }
        self.files.push((file, text));
        Ok(())
    }
}

impl Drop for Signs {
    fn drop(&mut self) {
        for (file, text) in &self.files {
            // It may be the sign of a server that came later.
            if std::fs::read_to_string(file).is_ok_and(|now| now == *text) {
                let _ = std::fs::remove_file(file);
            }
        }
        for directory in &self.made {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// Finds the server of a directory; one that is only starting is an error that says what it is at.
pub(super) fn find(directory: &Path) -> anyhow::Result<Whereabouts> {
    let left = read(directory);
    let runs = matches!(&left, Ok(Some(found)) if found.is_running());
    if !runs && let Some(Starting { pid, doing, .. }) = find_starting(directory) {
        bail!("the server of {} (process {pid}) is starting: {doing}", directory.display());
    }
    match left? {
        Some(found) if runs => Ok(found),
        Some(_) => {
            bail!("the server with the data directory {} was killed; start it again", directory.display())
        }
        None => {
            let names: Vec<_> =
                all().iter().filter_map(|path| path.file_name()?.to_str().map(String::from)).collect();
            let others = if names.is_empty() {
                "start one, or name it with --name".to_owned()
            } else {
                format!("name the one that is meant with --name; there are: {}", names.join(", "))
            };
            bail!("no server runs with the data directory {} ({others})", directory.display())
        }
    }
}

/// Returns the directories below the user's data directory in which a server that runs or starts has left a sign.
pub(super) fn all() -> Vec<PathBuf> {
    let usual = config::data_dir(None, None).ok();
    let entries = usual.as_deref().and_then(Path::parent).and_then(|home| std::fs::read_dir(home).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let runs = |path: &PathBuf| {
        find_starting(path).is_some() || matches!(read(path), Ok(Some(found)) if found.is_running())
    };
    let mut found: Vec<_> = paths.filter(runs).collect();
    found.sort();
    found
}

fn find_starting(directory: &Path) -> Option<Starting> {
    let text = std::fs::read_to_string(directory.join(STARTING_FILE)).ok()?;
    let starting: Starting = serde_json::from_str(&text).ok()?;
    is_running(starting.pid, &starting.process_start).then_some(starting)
}

/// Reads what a server left in a directory, whether it still runs or not.
fn read(directory: &Path) -> anyhow::Result<Option<Whereabouts>> {
    let file = directory.join(SERVER_FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            serde_json::from_str(&text).map(Some).with_context(|| format!("cannot read {}", file.display()))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Returns the process with an id, unless no process can have it.
pub(super) fn process(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Says whether the process that had this id and began then is still there. One that may not be looked at counts as there.
fn is_running(pid: u32, process_start: &str) -> bool {
    let Some(id) = process(pid) else { return false };
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => start_of(&stat).is_some_and(|start| start == process_start),
        // It is another user's, or /proc is not there.
        Err(_) => test_kill_process(id) != Err(Errno::SRCH),
    }
}

fn own_start() -> String {
    std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| start_of(&stat)).unwrap_or_default()
}

/// Returns when a process began: the system's boot, and clock ticks since. `None` for one that has ended and whose parent
/// has not looked yet ("Z").
fn start_of(stat: &str) -> Option<String> {
    // The name in parentheses may hold anything, also more of them.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    // Field 22 of proc_pid_stat(5); the state was field 3.
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}/{ticks}", boot.trim()))
}

/// Writes a file so that whoever sees it sees all of it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut file = beside(path)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// Makes an empty file that can take the place of another; it goes when it does not. Fails where the other could not be
/// written either.
pub(super) fn beside(path: &Path) -> io::Result<NamedTempFile> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".rmq-lite").tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(directory: &Path) -> String {
        format!("{:#}", find(directory).unwrap_err())
    }

    fn write_starting(directory: &Path, pid: u32, process_start: &str) {
        let doing = "checking messages: 37 %".to_owned();
        let starting = Starting { pid, process_start: process_start.to_owned(), doing };
        std::fs::write(directory.join(STARTING_FILE), serde_json::to_string(&starting).unwrap()).unwrap();
    }

    fn write_server(directory: &Path, pid: u32, process_start: &str) {
        let file = serde_json::json!({
            "pid": pid, "name": "n", "namesrv": null, "broker": null, "broker_fast": null, "broker_ha": null,
            "slave": null, "grpc": null, "web": null, "data_dir": "/data", "ephemeral": false, "startup_ms": 9,
            "env": {}, "process_start": process_start,
        });
        std::fs::write(directory.join(SERVER_FILE), file.to_string()).unwrap();
    }

    /// While a server starts it is not found, and whoever asks hears what it is at; also where one was killed before. One
    /// whose start was killed says nothing.
    #[test]
    fn a_server_that_starts() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id();
        write_starting(dir.path(), own, &own_start());
        let told = found_in(dir.path());
        assert!(told.ends_with(&format!("(process {own}) is starting: checking messages: 37 %")), "{told}");
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        for (pid, start) in [(ended.id(), own_start()), (own, "another boot/1".to_owned())] {
            write_starting(dir.path(), pid, &start);
            assert!(found_in(dir.path()).contains("no server runs"), "{pid} {start}");
        }
        std::fs::write(dir.path().join(SERVER_FILE), "{}").unwrap();
        write_starting(dir.path(), own, &own_start());
        assert!(found_in(dir.path()).contains("is starting"));
    }

    /// A killed server's id may be that of another process by now, which is not taken for it.
    #[test]
    fn a_process_id_that_is_somebody_elses_now() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id();
        write_server(dir.path(), own, &own_start());
        assert_eq!(find(dir.path()).unwrap().endpoints.pid, own);
        let boot = own_start().split('/').next().unwrap().to_owned();
        let earlier = format!("{boot}/1");
        for (pid, start) in
            [(own, earlier.as_str()), (own, "another boot/1"), (own, ""), (0, ""), (u32::MAX, "")]
        {
            write_server(dir.path(), pid, start);
            assert!(found_in(dir.path()).contains("was killed"), "{pid} {start}");
        }
    }

    /// A process that its parent has not asked about has ended, whatever its name looks like.
    #[test]
    fn zombies_have_ended() {
        let fields = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let start = start_of(&format!("7 (a) Z (b) S {fields}")).unwrap();
        assert!(start.ends_with("/4711"), "{start}");
        assert_eq!(start_of(&format!("7 (a) S (b) Z {fields}")), None);
        assert_eq!(start_of("7"), None);
    }
}
