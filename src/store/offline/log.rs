//! Reading a commit log piece by piece: messages, ends of files, bytes never written, and damage with what should stand there.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::DirFile;
use crate::store::Error;
use crate::wire::message::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2, MessageRecord, RecordError};

/// Bytes read at a time when a file is read from its beginning to its end.
const AHEAD_BYTES: usize = 1 << 20;
/// Bytes read at a time when single records are looked at.
const SINGLE_BYTES: usize = 4_096;
/// Longest record that is believed; no broker takes messages of this size.
const RECORD_BYTES_MAX: usize = 128 << 20;
/// Bytes of a record up to the end of its physical offset.
const PHYSICAL_OFFSET_END: usize = 36;
/// First three bytes of every version's magic number.
const MAGIC_FAMILY: [u8; 3] = [0xDA, 0xA3, 0x20];

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What should be there.
    pub expected: String,
    /// What is there instead.
    pub found: String,
}

/// What stands at a place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece<'a> {
    /// A message at its own place, whose body matches its checksum.
    Message(MessageRecord<'a>),
    /// The end of a file.
    Blank {
        /// Where the next file begins.
        end: i64,
    },
    /// Bytes that were never written.
    Zeros {
        /// Where they end: at a message, or where the file ends.
        end: i64,
    },
    /// Something else.
    Damaged {
        /// Where the next message, BLANK, or the end of the file is.
        end: i64,
        /// What it is.
        damage: Damage,
    },
}

enum Kind {
    Message(usize),
    Blank,
    Zeros,
    Damaged(Damage, Option<usize>),
}

/// Reads a commit log.
#[derive(Debug)]
pub struct LogReader {
    files: Vec<DirFile>,
    open: Option<(usize, File)>,
    ahead_bytes: usize,
    buffer: Vec<u8>,
    buffer_at: i64,
}

impl LogReader {
    /// Makes a reader of these files. `sequential` says that it is to read from one end to the other.
    pub fn new(files: Vec<DirFile>, sequential: bool) -> Self {
        let ahead_bytes = if sequential { AHEAD_BYTES } else { SINGLE_BYTES };
        Self { files, open: None, ahead_bytes, buffer: Vec::new(), buffer_at: 0 }
    }

    /// Returns the files in order.
    pub fn files(&self) -> &[DirFile] {
        &self.files
    }

    /// Returns the file that holds the byte at `at`.
    pub fn file_of(&self, at: i64) -> Option<&DirFile> {
        self.number_of(at).map(|number| &self.files[number])
    }

    fn number_of(&self, at: i64) -> Option<usize> {
        let number = self.files.partition_point(|file| file.offset <= at).checked_sub(1)?;
        (at < self.files[number].end()).then_some(number)
    }

    /// Says what stands at `at`; `None` when no file has this byte.
    pub fn piece(&mut self, at: i64) -> Result<Option<LogPiece<'_>>, Error> {
        let Some(number) = self.number_of(at) else { return Ok(None) };
        let file_end = self.files[number].end();
        let piece = match self.kind(at, file_end)? {
            Kind::Message(size) => {
                let path = self.files[number].path.clone();
                LogPiece::Message(MessageRecord::decode(self.fill(at, size)?).map_err(|_| changed(path))?)
            }
            Kind::Blank => LogPiece::Blank { end: file_end },
            Kind::Zeros => match self.next_data(number, at)? {
                None => LogPiece::Zeros { end: file_end },
                // A record begins with its size, so up to three of the zeros are its own.
                Some(data) => match self.next_good((data - 3).max(at + 1), file_end)? {
                    Some(end) => LogPiece::Zeros { end },
                    None => LogPiece::Damaged {
                        end: file_end,
                        damage: Damage {
                            expected: "a message or nothing".to_owned(),
                            found: format!(
                                "zeros, and at byte {} something that is no message",
                                data - self.files[number].offset
                            ),
                        },
                    },
                },
            },
            Kind::Damaged(damage, size) => {
                let behind = at + size.unwrap_or(1) as i64;
                let end = if size.is_some() && self.is_good(behind, file_end)? {
                    Some(behind)
                } else {
                    self.next_good(at + 1, file_end)?
                };
                LogPiece::Damaged { end: end.unwrap_or(file_end), damage }
            }
        };
        Ok(Some(piece))
    }

    /// Returns the message of `size` bytes at `at`, if a good one stands there.
    pub fn message(&mut self, at: i64, size: usize) -> Result<Option<MessageRecord<'_>>, Error> {
        let Some(number) = self.number_of(at) else { return Ok(None) };
        if (self.files[number].end() - at) < size as i64 || size > RECORD_BYTES_MAX {
            return Ok(None);
        }
        let record = MessageRecord::decode(self.fill(at, size)?).ok();
        Ok(record.filter(|record| record.total_size as usize == size && record.physical_offset == at))
    }

    /// Says whether any byte from `at` on, in this and later files, is not zero.
    pub fn has_data_behind(&mut self, at: i64) -> Result<bool, Error> {
        for number in 0..self.files.len() {
            let from = at.max(self.files[number].offset);
            if from < self.files[number].end() && self.next_data(number, from)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn kind(&mut self, at: i64, file_end: i64) -> Result<Kind, Error> {
        let left = (file_end - at) as usize;
        let bytes = self.fill(at, 8.min(left))?;
        let head = bytes.get(..8.min(left)).unwrap_or_default();
        if head.iter().all(|&byte| byte == 0) {
            return Ok(Kind::Zeros);
        }
        let damaged = |expected: &str, found: String| {
            Ok(Kind::Damaged(Damage { expected: expected.to_owned(), found }, None))
        };
        let Some((size, magic)) = head.split_first_chunk::<4>() else {
            return damaged("the end of the file", format!("{left} bytes, too few for anything"));
        };
        let size = i32::from_be_bytes(*size);
        let Some(magic) = magic.first_chunk::<4>().map(|magic| i32::from_be_bytes(*magic)) else {
            return damaged("the end of the file", format!("{left} bytes, too few for anything"));
        };
        match magic {
            MAGIC_BLANK if i64::from(size) == left as i64 => return Ok(Kind::Blank),
            MAGIC_BLANK => {
                let found = format!("an end of file of {size} bytes");
                return damaged(&format!("an end of file of {left} bytes"), found);
            }
            MAGIC_V1 | MAGIC_V2 => {}
            _ if magic.to_be_bytes()[..3] == MAGIC_FAMILY => {
                let found = format!(
                    "a message of a version that is not known here (magic number {magic:#010x}), as of a newer RocketMQ"
                );
                return damaged("a message of version 1 or 2", found);
            }
            _ => return damaged("a message", describe(head)),
        }
        let total = size as usize;
        if size < PHYSICAL_OFFSET_END as i32 || total > left || total > RECORD_BYTES_MAX {
            let expected = format!("a message of at most {left} bytes");
            return damaged(&expected, format!("a message that claims {size} bytes"));
        }
        let record = match MessageRecord::decode(self.fill(at, total)?) {
            Ok(record) => record,
            Err(error) => return damaged("a message whose lengths agree", error.to_string()),
        };
        let damage = if record.physical_offset != at {
            Damage {
                expected: format!("physical offset {at}"),
                found: format!("a message of physical offset {}", record.physical_offset),
            }
        } else if let Err(RecordError::BodyCrc { stored, computed }) = record.check_body() {
            Damage {
                expected: format!("a body with the checksum {stored:#010x}"),
                found: format!(
                    "checksum {computed:#010x}, in a message of {} queue {} offset {}",
                    record.topic, record.queue_id, record.queue_offset
                ),
            }
        } else {
            return Ok(Kind::Message(total));
        };
        Ok(Kind::Damaged(damage, Some(total)))
    }

    fn is_good(&mut self, at: i64, file_end: i64) -> Result<bool, Error> {
        if at >= file_end {
            return Ok(at == file_end);
        }
        Ok(!matches!(self.kind(at, file_end)?, Kind::Damaged(..)))
    }

    /// Finds the next message or end of file at or behind `at`.
    fn next_good(&mut self, at: i64, file_end: i64) -> Result<Option<i64>, Error> {
        // A magic number stands four bytes behind the beginning.
        let mut from = at + 4;
        while from < file_end {
            let Some(number) = self.number_of(from) else { return Ok(None) };
            let Some(data) = self.next_data(number, from)? else { return Ok(None) };
            from = data;
            let bytes = self.fill(from, 4)?;
            let Some(hit) = memchr::memchr2(MAGIC_FAMILY[0], MAGIC_BLANK.to_be_bytes()[0], bytes) else {
                from += bytes.len() as i64;
                continue;
            };
            let start = from + hit as i64 - 4;
            if start >= at && matches!(self.kind(start, file_end)?, Kind::Message(_) | Kind::Blank) {
                return Ok(Some(start));
            }
            from += hit as i64 + 1;
        }
        Ok(None)
    }

    /// Finds the next byte of a file that is not zero; holes are passed over without being read.
    fn next_data(&mut self, number: usize, at: i64) -> Result<Option<i64>, Error> {
        let (start, end) = (self.files[number].offset, self.files[number].end());
        let mut at = at;
        while at < end {
            let covered = at >= self.buffer_at && at < self.buffer_at + self.buffer.len() as i64;
            if !covered {
                let file = self.file(number)?;
                // A file system without holes answers with the same place.
                match rustix::fs::seek(file, rustix::fs::SeekFrom::Data((at - start) as u64)) {
                    Ok(data) => at = at.max(start.saturating_add_unsigned(data)),
                    Err(rustix::io::Errno::NXIO) => return Ok(None),
                    Err(_) => {}
                }
                if at >= end {
                    return Ok(None);
                }
            }
            let bytes = self.fill(at, 1)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(found) = bytes.iter().position(|&byte| byte != 0) {
                return Ok(Some(at + found as i64));
            }
            at += bytes.len() as i64;
        }
        Ok(None)
    }

    fn file(&mut self, number: usize) -> Result<&File, Error> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let path = &self.files[number].path;
            let file = File::open(path).map_err(Error::io("open", path))?;
            self.open = Some((number, file));
        }
        Ok(&self.open.as_ref().expect("opened above").1)
    }

    /// Returns the bytes from `at` on, at least `wanted` of them if the file has as many.
    fn fill(&mut self, at: i64, wanted: usize) -> Result<&[u8], Error> {
        let skip = usize::try_from(at - self.buffer_at).unwrap_or(usize::MAX);
        if skip >= self.buffer.len() || self.buffer.len() - skip < wanted {
            let Some(number) = self.number_of(at) else { return Ok(&[]) };
            let (start, end) = (self.files[number].offset, self.files[number].end());
            let len = wanted.max(self.ahead_bytes).min((end - at) as usize);
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(len, 0);
            let path = self.files[number].path.clone();
            let read = self.file(number)?.read_exact_at(&mut buffer, (at - start) as u64);
            read.map_err(Error::io("read", &path))?;
            self.buffer = buffer;
            self.buffer_at = at;
            return Ok(&self.buffer);
        }
        Ok(&self.buffer[skip..])
    }
}

/// A message was whole a moment ago and is not any more.
fn changed(path: PathBuf) -> Error {
    Error::Corrupt { path, position: 0, what: "somebody writes to it while it is read".to_owned() }
}

/// Says what bytes look like that are no message.
pub fn describe(head: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 6] = [
        (&[0x1F, 0x8B], "a gzip file"),
        (b"PK\x03\x04", "a zip or jar file"),
        (&[0x28, 0xB5, 0x2F, 0xFD], "a zstd file"),
        (b"SQLite", "an SQLite file"),
        (b"\x7FELF", "a program"),
        (&[0xCA, 0xFE, 0xBA, 0xBE], "a Java class"),
    ];
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*name).to_owned();
    }
    let shown = &head[..head.len().min(8)];
    if !shown.is_empty() && shown.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return format!("text ({:?})", String::from_utf8_lossy(shown));
    }
    let hex: Vec<_> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", hex.join(" "))
}
