//! Topics that were deleted while their messages are still in the log, so that no recovery enters these again.
//!
//! The reference follows its log from an earlier place after a kill and makes the queues of deleted topics anew: whoever
//! creates such a topic again finds its old messages. `topics.deleted` lies beside the checkpoint; its first line
//! names the format, each other line is the byte at which the log ended at the deletion, a tab, and the topic. A line goes
//! when the log begins behind it. Other brokers pass the file over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::disk::{FileSystem, replace};
use super::{Error, StoreOptions};

const FORMAT: &str = "rmq-lite deleted topics 1";

/// Topics with the byte at which the log ended when they were deleted.
#[derive(Debug, Default)]
pub struct DeletedTopics {
    path: PathBuf,
    ends: BTreeMap<String, i64>,
}

impl DeletedTopics {
    /// Reads the file; what cannot be understood in it is passed over.
    pub fn load(options: &StoreOptions) -> Self {
        let path = options.root.join("topics.deleted");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let row = |line: &str| {
            let (end, topic) = line.split_once('\t')?;
            Some((topic.to_owned(), end.parse().ok().filter(|end| *end > 0)?))
        };
        let ends = text.strip_prefix(FORMAT).map(|rest| rest.lines().filter_map(row).collect());
        Self { path, ends: ends.unwrap_or_default() }
    }

    /// Says whether a message that stands here is of a topic that was deleted later.
    pub fn covers(&self, topic: &str, physical: i64) -> bool {
        !self.ends.is_empty() && self.ends.get(topic).is_some_and(|end| physical < *end)
    }

    /// Writes down that a topic is deleted; returns once that is on the disk. Blocks.
    pub(crate) fn add(
        &mut self,
        disk: &dyn FileSystem,
        topic: &str,
        log_min: i64,
        log_end: i64,
    ) -> Result<(), Error> {
        self.ends.retain(|_, end| *end > log_min);
        if log_end > log_min && !topic.contains('\n') {
            self.ends.insert(topic.to_owned(), log_end);
        }
        self.write(disk)
    }

    /// Adapts to where the log ends after a recovery: what is written behind it from now on was not deleted.
    pub(crate) fn log_ends_at(&mut self, disk: &dyn FileSystem, log_end: i64) -> Result<(), Error> {
        let mut changed = false;
        for end in self.ends.values_mut().filter(|end| **end > log_end) {
            (*end, changed) = (log_end, true);
        }
        self.ends.retain(|_, end| *end > 0);
        if changed { self.write(disk) } else { Ok(()) }
    }

    fn write(&self, disk: &dyn FileSystem) -> Result<(), Error> {
        if self.ends.is_empty() && !self.path.exists() {
            return Ok(());
        }
        let mut text = FORMAT.to_owned() + "\n";
        for (topic, end) in &self.ends {
            let _ = writeln!(text, "{end}\t{topic}");
        }
        replace(disk, &self.path, text.as_bytes(), None)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::Disk;

    fn load(path: &Path) -> DeletedTopics {
        DeletedTopics::load(&StoreOptions::at(path))
    }

    /// What is written down is read again, until the log begins behind it or ends before it; what is none of ours is nothing.
    #[test]
    fn remembers() {
        let dir = tempfile::tempdir().unwrap();
        let mut deleted = load(dir.path());
        deleted.add(&Disk, "empty", 0, 0).unwrap();
        assert!(!dir.path().join("topics.deleted").exists(), "an empty log has none of its messages");
        deleted.add(&Disk, "A\tb", 0, 100).unwrap();
        deleted.add(&Disk, "C", 0, 300).unwrap();
        let again = load(dir.path());
        assert!(again.covers("A\tb", 99) && !again.covers("A\tb", 100) && again.covers("C", 299));
        assert!(!again.covers("other", 0));
        deleted.log_ends_at(&Disk, 200).unwrap();
        assert!(!load(dir.path()).covers("C", 200) && load(dir.path()).covers("C", 199));
        deleted.add(&Disk, "D", 150, 250).unwrap();
        assert!(!load(dir.path()).covers("A\tb", 0), "its messages are gone from the log");
        for text in ["", "\0", "else 1\n100\tC", "rmq-lite deleted topics 1\nC\n-1\tC\nx\tC\n\tC"] {
            std::fs::write(dir.path().join("topics.deleted"), text).unwrap();
            assert!(!load(dir.path()).covers("C", 0), "{text:?}");
        }
    }
}
