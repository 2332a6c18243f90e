//! The JSON files below `config/`, read and written as an Apache broker does.
//!
//! A file is replaced whole: the new text goes to a temporary file and to the disk, the old file becomes
//! `<file>.bak`, the new one takes its name. At every moment one of the two can be read, and [`load`] takes
//! whichever can. Mirrors `ConfigManager` and `MixAll.string2File` of 5.3.4; up to 5.3.3 the file is rewritten
//! in place, where a crash can leave half of it. Both functions block.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

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
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let fresh = beside(path, ".tmp");
    let mut file = File::create(&fresh).map_err(failed("create", &fresh))?;
    file.write_all(text.as_bytes()).map_err(failed("write", &fresh))?;
    file.sync_all().map_err(failed("flush", &fresh))?;
    drop(file);
    match fs::rename(path, beside(path, ".bak")) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed("rename", path)(cause)),
        Ok(()) | Err(_) => {}
    }
    fs::rename(&fresh, path).map_err(failed("rename", &fresh))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("flush", folder))
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
