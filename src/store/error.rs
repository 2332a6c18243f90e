//! What can go wrong in the store, and why a message is refused.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A failure of the store itself.
#[derive(Debug, Error)]
pub enum Error {
    /// The file system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What it was done to.
        path: PathBuf,
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file holds something that cannot be.
    #[error("{} is damaged at byte {position}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Byte in the file.
        position: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file has another length than the configuration says.
    #[error("{} has {actual} bytes, but {key} says {expected}; set {key} to what it was when the file was made, or move the file away", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        actual: u64,
        /// The configured length in bytes.
        expected: u64,
        /// The configuration key that decides.
        key: &'static str,
    },
    /// Another process uses the directory.
    #[error("{} is in use by another broker process; stop it or choose another directory", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// An option cannot be used.
    #[error("{key} = {value} is not possible: {why}")]
    Option {
        /// The configuration key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        why: &'static str,
    },
    /// A flush failed earlier, so that what the disk holds is no longer known; reads go on.
    #[error("the store takes no more messages since a flush failed: {reason}")]
    Poisoned {
        /// The failure.
        reason: String,
    },
}

impl Error {
    /// Says whether the volume takes nothing at present, because it is full or read-only; then nothing was written.
    pub(crate) fn is_passing(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem))
    }

    /// Says whether a file is not there that must be.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Says whether something that was written may not have come to the disk, and never will.
    pub(crate) fn is_failed_flush(&self) -> bool {
        matches!(self, Self::Io { action: "flush", .. })
    }

    /// Wraps an operating system error with what was being done to which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}

/// Why a message was not stored.
#[derive(Debug, Error)]
pub enum PutError {
    /// The store takes no messages at present: stopped, disk full, poisoned, or a fault was ordered.
    #[error("service not available now: {reason}")]
    NotWriteable {
        /// Why, in words for a person, with path and numbers.
        reason: String,
    },
    /// A field is longer than allowed (MESSAGE_ILLEGAL; for properties PROPERTIES_SIZE_EXCEEDED).
    #[error("the message is illegal: {field} of {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// `body`, `topic`, `properties` or `message`.
        field: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A field has a value that no message can have.
    #[error("the message is illegal: {what}")]
    Illegal {
        /// What is wrong.
        what: &'static str,
    },
    /// The next commit-log file could not be made (CREATE_MAPPED_FILE_FAILED).
    #[error("create mapped file failed, server is busy or broken: {0}")]
    CreateMappedFile(#[source] Error),
}
