//! `store check --repair`: makes a damaged store one that starts and serves every message that can still be read.
//!
//! Flows in: what [`super::check`] found. Before anything is changed, the bytes in question are copied, or the files moved,
//! to a new directory beside the store. Then:
//!
//! - bytes of the log that are no message, with good messages behind them, are covered by a record that brokers pass
//!   over: a message of a rolled-back transaction, or the end of the file;
//! - without good messages behind them, the log is cut there;
//! - a file of the log that is missing is put in its place, holding nothing; one of wrong length gets the right one;
//! - files that do not belong into the log are moved out;
//! - consume queues, index, checkpoint and the mark of a store in use are moved out: the next start makes them again from
//!   the log, where a message that is lost leaves its place in the queue empty.
//!
//! Configuration files are not touched: a start takes the `.bak` of one that is broken.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::check::{self, BadRange, Report};
use crate::store::StoreOptions;
use crate::store::offline::{DirFile, list};
use crate::wire::message::{MAGIC_BLANK, NewRecord, body_crc, sys_flag};

/// Topic of the records that cover damage; no queue and no index knows it.
const TOPIC: &str = "RMQ_LITE_REPAIRED";
/// Longest such record; more damage gets several.
const COVER_BYTES_MAX: i64 = 1 << 20;
/// Bytes that are copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// What was done.
#[derive(Debug)]
pub(super) struct Repaired {
    /// Where everything that was taken out is.
    pub(super) backup: PathBuf,
    /// In words, in order.
    pub(super) steps: Vec<String>,
}

/// Repairs a store that has damage. The caller holds it alone.
pub(super) fn repair(options: &StoreOptions, report: &Report, now_ms: i64) -> anyhow::Result<Repaired> {
    let mut name = options.root.as_os_str().to_owned();
    let stamp = jiff::Timestamp::from_millisecond(now_ms)?.to_zoned(jiff::tz::TimeZone::system());
    name.push(format!(".repair-{}", stamp.strftime("%Y%m%d-%H%M%S")));
    let backup = PathBuf::from(name);
    fs::create_dir(&backup).with_context(|| format!("cannot make {}", backup.display()))?;
    let mut done = Repaired { backup, steps: Vec::new() };
    right_files(options, report.log_file_bytes, &mut done)?;
    // Now every file has its length and place, so what is wrong is wrong inside of one file.
    let report = check::check(options)?;
    let files = list(&options.commit_log_dir)?.files;
    for range in &report.bad_ranges {
        let tail = range.from >= report.figures.log_ends;
        if tail || !cover(&files, *range, &mut done)? {
            cut(&files, range.from, &mut done)?;
            break;
        }
    }
    for path in
        [&options.consume_queue_dir, &options.index_dir, &options.checkpoint_file, &options.abort_file]
    {
        if path.exists() {
            take_out(path, &mut done, "the next start makes it again")?;
        }
    }
    Ok(done)
}

/// Moves a file or directory to the backup.
fn take_out(path: &Path, done: &mut Repaired, why: &str) -> anyhow::Result<()> {
    let to = done.backup.join(path.file_name().context("a file has a name")?);
    fs::rename(path, &to).with_context(|| format!("cannot move {} to {}", path.display(), to.display()))?;
    done.steps.push(format!("{} moved out: {why}", path.display()));
    Ok(())
}

/// Copies bytes of a file to the backup.
fn keep(file: &DirFile, at: u64, bytes: u64, done: &Repaired) -> anyhow::Result<()> {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let target = done.backup.join(format!("{name}.bytes-{at}-{}", at + bytes));
    let (from, to) = (File::open(&file.path)?, File::create(&target)?);
    to.set_len(bytes)?;
    let mut copied = 0;
    while copied < bytes {
        let mut piece = vec![0; COPY_BYTES.min(bytes - copied) as usize];
        from.read_exact_at(&mut piece, at + copied)?;
        // What was never written needs no space in the copy either.
        if piece.iter().any(|&byte| byte != 0) {
            to.write_all_at(&piece, copied)?;
        }
        copied += piece.len() as u64;
    }
    to.sync_all().with_context(|| format!("cannot write {}", target.display()))
}

/// Gives every file of the log its length and place.
fn right_files(options: &StoreOptions, file_bytes: u64, done: &mut Repaired) -> anyhow::Result<()> {
    let listing = list(&options.commit_log_dir)?;
    for stranger in listing.strangers.iter().filter(|stranger| !stranger.is_dir()) {
        take_out(stranger, done, "it does not belong into the log")?;
    }
    let mut expected = listing.files.first().map_or(0, |file| file.offset);
    let count = listing.files.len();
    for (number, file) in listing.files.iter().enumerate() {
        ensure!(
            file.offset >= expected && (file.offset - expected).unsigned_abs().is_multiple_of(file_bytes),
            "{} overlaps the file before it; move one of them away by hand",
            file.path.display()
        );
        while expected < file.offset {
            let path = options.commit_log_dir.join(format!("{expected:020}"));
            let made = File::create_new(&path)?;
            made.set_len(file_bytes)?;
            blank(&made, 0, file_bytes)?;
            done.steps.push(format!("{} made, holding nothing: it was missing", path.display()));
            expected = expected.saturating_add_unsigned(file_bytes);
        }
        expected = expected.saturating_add_unsigned(file_bytes);
        let last_is_empty = file.bytes == 0 && number + 1 == count;
        if file.bytes != file_bytes && !last_is_empty {
            if file.bytes > file_bytes {
                keep(file, file_bytes, file.bytes - file_bytes, done)?;
            }
            File::options().write(true).open(&file.path)?.set_len(file_bytes)?;
            let text =
                format!("{} has {file_bytes} bytes now, instead of {}", file.path.display(), file.bytes);
            done.steps.push(text);
        }
    }
    Ok(())
}

/// Writes the end of a file.
fn blank(file: &File, at: u64, bytes: u64) -> io::Result<()> {
    let mut end = (bytes as i32).to_be_bytes().to_vec();
    end.extend_from_slice(&MAGIC_BLANK.to_be_bytes());
    file.write_all_at(&end, at)?;
    file.sync_all()
}

/// Puts something in place of damage that brokers pass over; says whether that was possible.
fn cover(files: &[DirFile], range: BadRange, done: &mut Repaired) -> anyhow::Result<bool> {
    let Some(file) = files.iter().find(|file| (file.offset..file.end()).contains(&range.from)) else {
        return Ok(false);
    };
    let (at, bytes) = ((range.from - file.offset) as u64, (range.to - range.from) as u64);
    let to_the_end = range.to == file.end();
    let empty = record(&[], range);
    let least = empty.encoded_len()? as i64;
    if (to_the_end && bytes < 8) || (!to_the_end && range.to - range.from < least) {
        return Ok(false);
    }
    keep(file, at, bytes, done)?;
    let opened = File::options().write(true).open(&file.path)?;
    if to_the_end {
        blank(&opened, at, bytes)?;
    } else {
        let mut from = range.from;
        while from < range.to {
            let left = range.to - from;
            // The last piece must have room for a record, too.
            let piece = if left <= COVER_BYTES_MAX { left } else { COVER_BYTES_MAX.min(left - least) };
            let body = vec![0; (piece - least) as usize];
            let cover = record(&body, BadRange { from, ..range });
            let mut encoded = vec![0; piece as usize];
            cover.encode(cover.encoded_len()?, &mut encoded);
            opened.write_all_at(&encoded, (from - file.offset) as u64)?;
            from += piece;
        }
        opened.sync_all()?;
    }
    done.steps.push(format!(
        "{} bytes at physical offset {} of the log are passed over from now on",
        bytes, range.from
    ));
    Ok(true)
}

fn record(body: &[u8], range: BadRange) -> NewRecord<'_> {
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    NewRecord {
        body_crc: body_crc(body),
        queue_id: 0,
        flag: 0,
        queue_offset: 0,
        physical_offset: range.from,
        sys_flag: sys_flag::TRANSACTION_ROLLBACK,
        born_timestamp: range.before_ms,
        born_host: nobody,
        store_timestamp: range.before_ms,
        store_host: nobody,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic: TOPIC,
        properties: &[],
    }
}

/// Cuts the log off at a physical offset.
fn cut(files: &[DirFile], at: i64, done: &mut Repaired) -> anyhow::Result<()> {
    for file in files.iter().rev() {
        if file.offset >= at && file.offset != files[0].offset {
            take_out(&file.path, done, "it stands behind the last good message")?;
        } else if file.end() > at {
            let within = (at - file.offset) as u64;
            keep(file, within, file.bytes - within, done)?;
            // Shorter and longer again: what was there reads as zeros.
            let opened = File::options().write(true).open(&file.path)?;
            opened.set_len(within)?;
            opened.set_len(file.bytes)?;
            opened.sync_all()?;
            done.steps.push(format!("the log ends at physical offset {at} now"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
