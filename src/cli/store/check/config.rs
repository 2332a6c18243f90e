//! The files below `config/` and the timers' own: whether they can be read, and whether their offsets are within their queues.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Check;
use crate::broker::name::SCHEDULE_TOPIC;
use crate::store::Error;
use crate::store::offline::list;
use crate::store::timer::TimerCheckpoint;
use crate::wire::body::offset::{ConsumerOffsetSerializeWrapper, DelayOffsetSerializeWrapper};
use crate::wire::body::topic::TopicConfigSerializeWrapper;
use crate::wire::fastjson;

/// Largest configuration file that is read.
const CONFIG_BYTES_MAX: u64 = 128 << 20;

impl Check<'_> {
    /// Reads the configuration files; the names of topics are wanted later.
    pub(super) fn config(&mut self) -> Result<(), Error> {
        let dir = self.options.root.join("config");
        let Ok(listed) = std::fs::read_dir(&dir) else {
            self.report.note(&dir, "there is no configuration: a start makes topics and groups anew");
            return Ok(());
        };
        let mut paths: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
        paths.sort_unstable();
        for path in paths {
            if path.extension().is_some_and(|extension| extension == "json")
                && let Err(problem) = read_json::<Value>(&path)
            {
                let backup = with_suffix(&path, ".bak");
                let what = if read_json::<Value>(&backup).is_ok() {
                    "it cannot be read; a start takes the .bak beside it"
                } else {
                    "it cannot be read, and there is no .bak that can: a start refuses it"
                };
                self.report.differs(&path, None, what, "the JSON that Apache writes", problem);
            }
        }
        let path = dir.join("topics.json");
        if path.exists() || with_suffix(&path, ".bak").exists() {
            let read = read_json::<TopicConfigSerializeWrapper>(&path);
            match read.or_else(|_| read_json::<TopicConfigSerializeWrapper>(&with_suffix(&path, ".bak"))) {
                Ok(topics) => self.topics = Some(topics.topic_config_table.into_keys().collect()),
                Err(problem) => {
                    self.report.differs(&path, None, "it does not hold topics", "topicConfigTable", problem);
                }
            }
        }
        Ok(())
    }

    /// Compares committed offsets with the ends of the queues.
    pub(super) fn offsets(&mut self) -> Result<(), Error> {
        let dir = self.options.root.join("config");
        let path = dir.join("consumerOffset.json");
        if let Ok(file) = read_json::<ConsumerOffsetSerializeWrapper>(&path) {
            for (key, queues) in file.offset_table {
                let (topic, group) = key.split_once('@').unwrap_or((&key, ""));
                for (queue_id, offset) in queues {
                    self.offset(&path, &format!("group {group} on {topic}"), topic, queue_id, offset)?;
                }
            }
        }
        let path = dir.join("delayOffset.json");
        if let Ok(file) = read_json::<DelayOffsetSerializeWrapper>(&path) {
            for (level, offset) in file.offset_table {
                self.offset(&path, &format!("delay level {level}"), SCHEDULE_TOPIC, level - 1, offset)?;
            }
        }
        Ok(())
    }

    fn offset(
        &mut self,
        path: &Path,
        whose: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<(), Error> {
        let Some(queue) = self.queues.queues.get_mut(&(topic.to_owned(), queue_id)) else { return Ok(()) };
        // The offset before it must be in use, unless the queue is empty.
        let before = if offset > 0 { queue.entry(offset - 1)? } else { None };
        let is_beyond = offset > queue.first() && before.is_none_or(|entry| entry.is_unused());
        if offset < 0 || is_beyond {
            let expected = format!("an offset within queue {queue_id}");
            let what = format!("the progress of {whose} is beyond its queue");
            if self.unclean {
                self.report.note(path, format!("{what}: {offset}"));
            } else {
                self.report.differs(path, None, &what, expected, offset.to_string());
            }
        }
        Ok(())
    }

    pub(super) fn timers(&mut self) -> Result<(), Error> {
        let path = self.options.root.join("config/timercheck");
        match TimerCheckpoint::load(&path) {
            Ok(None) if path.exists() => {
                let found = std::fs::metadata(&path).map_or(0, |meta| meta.len());
                self.report.differs(
                    &path,
                    None,
                    "the timers' checkpoint is cut short",
                    "4096 bytes",
                    format!("{found} bytes"),
                );
            }
            Ok(Some((checkpoint, _))) if checkpoint.last_timer_queue_offset < 0 => {
                self.report.damage(&path, Some(16), "the queue offset of the timers is negative");
            }
            Ok(_) => {}
            Err(source) => return Err(Error::Io { path, action: "read", source }),
        }
        let listing = list(&self.options.root.join("timerlog"))?;
        for stranger in &listing.strangers {
            self.report.damage(stranger, None, "this file does not belong into the timers' log");
        }
        for two in listing.files.windows(2) {
            if two[0].end() != two[1].offset {
                let expected = format!("{:020}", two[0].end());
                self.report.differs(
                    &two[1].path,
                    None,
                    "a file of the timers' log before this one is missing or cut short",
                    expected,
                    format!("{:020}", two[1].offset),
                );
            }
        }
        Ok(())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let meta = std::fs::metadata(path).map_err(|cause| cause.to_string())?;
    if meta.len() > CONFIG_BYTES_MAX {
        return Err(format!("it has {} bytes", meta.len()));
    }
    let text = std::fs::read(path).map_err(|cause| cause.to_string())?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty".to_owned());
    }
    if text.iter().all(|&byte| byte == 0) {
        return Err("it holds only zeros".to_owned());
    }
    fastjson::from_slice(&text).map_err(|cause| cause.to_string())
}
