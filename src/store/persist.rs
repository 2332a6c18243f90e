//! The JSON files of brokers and NameServers below their `config/`, read and written as an Apache broker does.
//!
//! A file is replaced whole: the new text goes to a temporary file and to the disk, the old file becomes
//! `<file>.bak`, the new one takes its name. At every moment one of the two can be read, and [`load`] takes
//! whichever can. Mirrors `ConfigManager` and `MixAll.string2File` of 5.3.4; up to 5.3.3 the file is rewritten
//! in place, where a crash can leave half of it. Both functions block.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Disk, FileSystem, replace};
use crate::config::properties;
use crate::wire::fastjson;

/// Largest file that is read; a hundred thousand topics take a fifth of it.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// Why a configuration file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The operating system refused.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        cause: io::Error,
    },
    /// A file could not be replaced.
    #[error(transparent)]
    Replace(#[from] super::Error),
    /// A properties file that is to be changed cannot be understood.
    #[error("{}: {problem}", path.display())]
    Properties {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: properties::MalformedEscape,
    },
    /// Neither the file nor its backup can be understood.
    #[error("{} and its .bak cannot be read: {problem}; repair one of them or move both away", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads a file, or its backup where the file is missing, empty or broken; `None` when there is neither.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, PersistError> {
    let (problem, missing) = match read(path)? {
        Read::Value(value) => return Ok(Some(value)),
        Read::Nothing => ("it is empty".to_owned(), true),
        Read::Broken(problem) => (problem, false),
    };
    let backup = beside(path, ".bak");
    match read(&backup)? {
        Read::Value(value) => {
            tracing::warn!(file = %path.display(), "read from its .bak, because {problem}");
            if !missing {
                // Kept for the person who wonders, and out of the way of the next backup.
                let aside = beside(path, ".broken");
                fs::rename(path, &aside).map_err(failed("rename", path))?;
            }
            Ok(Some(value))
        }
        Read::Nothing if missing => Ok(None),
        Read::Nothing | Read::Broken(_) => Err(PersistError::Broken { path: path.to_owned(), problem }),
    }
}

/// Replaces a file; returns once it is on the disk.
pub fn save<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), PersistError> {
    save_text(path, &fastjson::to_string_pretty(value))
}

/// Replaces a file by this text; returns once it is on the disk.
pub fn save_text(path: &Path, text: &str) -> Result<(), PersistError> {
    save_text_on(&Disk, path, text)
}

/// Sets keys in a properties file, which may be a person's own, and leaves everything else in it as it is; the former
/// file stays as `.bak`. Returns once it is on the disk. [`properties::merge`] says what `changes` and `meant` are.
pub fn merge_properties(
    path: &Path,
    changes: &[(&str, impl AsRef<str>)],
    meant: impl for<'a> Fn(&'a str) -> &'a str,
) -> Result<(), PersistError> {
    // The broker and the NameServer of one process may share a file.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let former = match fs::read(path) {
        Ok(former) => Some(former),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
        Err(cause) => return Err(failed("read", path)(cause)),
    };
    let merged = properties::merge(former.as_deref().unwrap_or_default(), changes, meant)
        .map_err(|problem| PersistError::Properties { path: path.to_owned(), problem })?;
    // A start reads this file alone, so that it must be there at every moment.
    if let Some(former) = former {
        replace(&Disk, &beside(path, ".bak"), &former, None)?;
    }
    Ok(replace(&Disk, path, &merged, None)?)
}

fn save_text_on(disk: &dyn FileSystem, path: &Path, text: &str) -> Result<(), PersistError> {
    Ok(replace(disk, path, text.as_bytes(), Some(&beside(path, ".bak")))?)
}

enum Read<T> {
    Value(T),
    Nothing,
    Broken(String),
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Read<T>, PersistError> {
    match fs::metadata(path) {
        Ok(about) if about.len() > FILE_BYTES_MAX => {
            return Ok(Read::Broken(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        _ => {}
    }
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Read::Nothing),
        Err(cause) => return Err(failed("read", path)(cause)),
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Read::Nothing);
    }
    Ok(match fastjson::from_slice(&text) {
        Ok(value) => Read::Value(value),
        Err(problem) => Read::Broken(problem.to_string()),
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PersistError {
    let path = path.to_owned();
    move |cause| PersistError::Io { action, path, cause }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::tests::fragile::{self, Fragile};

    type Table = BTreeMap<String, i32>;

    fn table(value: i32) -> Table {
        BTreeMap::from([("a".to_owned(), value)])
    }

    /// What is saved is loaded, the version before it is the backup, and nothing temporary stays.
    #[test]
    fn saves_and_loads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/t.json");
        assert_eq!(load::<Table>(&path).unwrap(), None);
        save(&path, &table(1)).unwrap();
        assert!(!beside(&path, ".bak").exists(), "a first write has no backup");
        save(&path, &table(2)).unwrap();
        assert_eq!(load(&path).unwrap(), Some(table(2)));
        assert_eq!(load(&beside(&path, ".bak")).unwrap(), Some(table(1)));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }

    /// Wherever a crash strikes, the file or its backup is read; a broken one is kept aside.
    #[test]
    fn falls_back_to_the_backup() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        save(&path, &table(1)).unwrap();
        save(&path, &table(2)).unwrap();
        for broken in ["", " \n", "{\"a\":", "[]", "{\"a\":\"x\"}"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(load(&path).unwrap(), Some(table(1)), "{broken}");
        }
        fs::remove_file(&path).unwrap_or_default();
        assert_eq!(load(&path).unwrap(), Some(table(1)));
        assert!(beside(&path, ".broken").exists());
    }

    /// What a power cut leaves of a file that is written again and again: what was written last, or what was being written;
    /// never nothing, never half of it. So does a cut after a start that found it so.
    #[test]
    fn a_power_cut_leaves_the_old_or_the_new() {
        let mut images = 0;
        for seed in 0..60 {
            let folder = fragile::scratch();
            let writes = |root: &Path, disk: &Fragile, from: i32| {
                let path = root.join("store/config/t.json");
                for value in from..from + 6 {
                    // Of many lengths, so that half of one is not another.
                    let text = format!("{{\"a\":{value}{}}}", " ".repeat(value as usize * 300));
                    save_text_on(disk, &path, &text).unwrap();
                    disk.promise(value.into(), 0);
                    disk.look("a save");
                }
            };
            let found = |root: &Path| {
                let table: Option<Table> = load(&root.join("store/config/t.json")).unwrap();
                table.map_or(0, |table| table["a"])
            };
            let disk = Fragile::new(folder.path(), seed, 60);
            writes(folder.path(), &disk, 1);
            for drawn in disk.take() {
                let folder = fragile::scratch();
                fragile::write_image(&drawn.image, folder.path());
                let first = found(folder.path());
                let acked = i32::try_from(drawn.acked).unwrap();
                assert!(
                    first == acked || first == acked + 1,
                    "seed {seed}: {first}, and {acked} was acknowledged"
                );
                let disk = Fragile::new(folder.path(), seed, 20);
                disk.promise(first.into(), 0);
                writes(folder.path(), &disk, first + 1);
                for again in disk.take() {
                    images += 1;
                    let folder = fragile::scratch();
                    fragile::write_image(&again.image, folder.path());
                    let (second, acked) = (found(folder.path()), i32::try_from(again.acked).unwrap());
                    assert!(
                        second == acked || second == acked + 1,
                        "seed {seed}: {second} after {first}, {acked}"
                    );
                }
            }
        }
        assert!(images > 1_000, "{images}");
    }

    /// Two broken files stop the start with both names, rather than beginning with an empty table.
    #[test]
    fn two_broken_files_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        fs::write(&path, "{").unwrap();
        let problem = load::<Table>(&path).unwrap_err().to_string();
        assert!(problem.contains("t.json and its .bak cannot be read"), "{problem}");
        fs::write(beside(&path, ".bak"), "{").unwrap();
        assert!(load::<Table>(&path).is_err());
    }
}
