//! Orderly pops: which messages of a queue a group holds, so that nobody gets the next ones before.
//!
//! A pop writes down what it gave out; until all of that is acknowledged or its time is over, the queue is blocked for
//! the group, except for the same attempt asking again. The committed offset is the first message that was not
//! acknowledged, so that whatever ends the wait, the next pop begins there. Mirrors `ConsumerOrderInfoManager`;
//! `config/consumerOrderInfo.json` is its file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::persist::{self, PersistError};
use crate::wire::body::pop::{ConsumerOrderInfoTable, OrderInfo};

/// How long what nobody touches is kept (`CLEAN_SPAN_FROM_LAST`).
const KEPT_MS: i64 = 24 * 3600 * 1000;
/// Messages of one pop: they are bits of a number.
const BITS: usize = 63;

/// What orderly groups hold.
///
/// Lock order: a leaf.
pub struct OrderTable {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    content: ConsumerOrderInfoTable,
    changes: u64,
    saved: u64,
}

/// What an acknowledgement led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The group goes on from this offset.
    Commit(i64),
    /// It belongs to an earlier pop; nothing changes.
    Stale,
    /// The pop did not give out this message.
    Illegal,
}

/// One queue of one topic for one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a str,
    pub(super) group: &'a str,
    pub(super) queue_id: i32,
}

impl OrderInfo {
    fn offset(&self, at: usize) -> i64 {
        self.offset_list[0] + if at == 0 { 0 } else { self.offset_list[at] }
    }

    fn offsets(&self) -> Vec<i64> {
        (0..self.offset_list.len().min(BITS)).map(|at| self.offset(at)).collect()
    }

    fn is_acked(&self, at: usize) -> bool {
        self.commit_offset_bit >> at & 1 == 1
    }

    /// Returns until when the queue is blocked; `None` when it is free.
    fn blocked_until_ms(&self, now_ms: i64) -> Option<i64> {
        let open = self.offsets().into_iter().enumerate().filter(|(at, _)| !self.is_acked(*at));
        let visible = open.map(|(_, offset)| {
            let own = self.offset_next_visible_time.get(&offset).copied();
            own.unwrap_or(self.pop_time.saturating_add(self.invisible_time))
        });
        visible.filter(|at_ms| *at_ms > now_ms).max()
    }

    fn next_offset(&self) -> i64 {
        let offsets = self.offsets();
        let open = offsets.iter().enumerate().find(|(at, _)| !self.is_acked(*at));
        open.map_or_else(|| offsets.last().map_or(0, |last| last + 1), |(_, offset)| *offset)
    }
}

impl OrderTable {
    /// Reads the file.
    pub fn load(config_dir: &Path) -> Result<Self, PersistError> {
        let path = config_dir.join("consumerOrderInfo.json");
        let mut content: ConsumerOrderInfoTable = persist::load(&path)?.unwrap_or_default();
        for queues in content.table.values_mut() {
            queues.retain(|_, info| !info.offset_list.is_empty());
        }
        Ok(Self { path, state: Mutex::new(State { content, ..State::default() }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns until when a queue is blocked for a group; the attempt that blocked it is not.
    pub(super) fn blocked_until_ms(
        &self,
        place: Place<'_>,
        attempt: Option<&str>,
        now_ms: i64,
    ) -> Option<i64> {
        let state = self.lock();
        let info = state.content.table.get(&key(place))?.get(&place.queue_id)?;
        if attempt.is_some() && info.attempt_id.as_deref() == attempt {
            return None;
        }
        info.blocked_until_ms(now_ms)
    }

    /// Writes down what a pop gave out; returns the messages that were given out before, with how often.
    pub(super) fn popped(
        &self,
        place: Place<'_>,
        attempt: Option<&str>,
        pop_time_ms: i64,
        invisible_ms: i64,
        offsets: &[i64],
    ) -> Vec<(i64, i32)> {
        let Some(first) = offsets.first() else { return Vec::new() };
        let mut state = self.lock();
        state.changes += 1;
        let queues = state.content.table.entry(key(place)).or_default();
        let before = queues.remove(&place.queue_id);
        let mut info = OrderInfo {
            attempt_id: attempt.map(str::to_owned),
            invisible_time: invisible_ms,
            last_consume_timestamp: pop_time_ms,
            offset_list: offsets.iter().map(|offset| offset - first).collect(),
            pop_time: pop_time_ms,
            ..OrderInfo::default()
        };
        info.offset_list[0] = *first;
        if let Some(before) = before {
            if attempt.is_some() && before.attempt_id.as_deref() == attempt {
                info.offset_consumed_count = before.offset_consumed_count;
            } else {
                let known = before.offsets();
                for offset in offsets.iter().filter(|offset| known.contains(offset)) {
                    let count = before.offset_consumed_count.get(offset).map_or(1, |count| count + 1);
                    info.offset_consumed_count.insert(*offset, count);
                }
            }
        }
        let counts = info.offset_consumed_count.iter().map(|(offset, count)| (*offset, *count)).collect();
        queues.insert(place.queue_id, info);
        counts
    }

    /// Marks a message as acknowledged.
    pub(super) fn acked(&self, place: Place<'_>, offset: i64, pop_time_ms: i64) -> Next {
        let mut state = self.lock();
        let found = state.content.table.get_mut(&key(place)).and_then(|it| it.get_mut(&place.queue_id));
        let Some(info) = found else { return Next::Commit(offset.saturating_add(1)) };
        if info.pop_time != pop_time_ms {
            return Next::Stale;
        }
        let Some(at) = info.offsets().iter().position(|known| *known == offset) else { return Next::Illegal };
        info.commit_offset_bit |= 1 << at;
        let next = info.next_offset();
        state.changes += 1;
        Next::Commit(next)
    }

    /// Sets when a message is offered again; says whether the pop still holds it.
    pub(super) fn set_visible(
        &self,
        place: Place<'_>,
        offset: i64,
        pop_time_ms: i64,
        visible_ms: i64,
    ) -> bool {
        let mut state = self.lock();
        let found = state.content.table.get_mut(&key(place)).and_then(|it| it.get_mut(&place.queue_id));
        let holds = |info: &&mut OrderInfo| info.pop_time == pop_time_ms && info.offsets().contains(&offset);
        let Some(info) = found.filter(holds) else { return false };
        info.offset_next_visible_time.insert(offset, visible_ms);
        state.changes += 1;
        true
    }

    /// Frees a queue, because the group's offset was reset.
    pub(super) fn clear(&self, place: Place<'_>) {
        let mut state = self.lock();
        if let Some(queues) = state.content.table.get_mut(&key(place))
            && queues.remove(&place.queue_id).is_some()
        {
            state.changes += 1;
        }
    }

    /// Writes the file if it lacks a change; says whether it did. Blocks.
    pub fn save(&self, now_ms: i64) -> Result<bool, PersistError> {
        let mut state = self.lock();
        if state.changes == state.saved {
            return Ok(false);
        }
        state.content.table.retain(|_, queues| {
            queues.retain(|_, info| now_ms - info.last_consume_timestamp < KEPT_MS);
            !queues.is_empty()
        });
        let (content, changes) = (state.content.clone(), state.changes);
        drop(state);
        persist::save(&self.path, &content)?;
        self.lock().saved = changes;
        Ok(true)
    }
}

fn key(place: Place<'_>) -> String {
    format!("{}@{}", place.topic, place.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { topic: "T", group: "g", queue_id: 0 };

    fn table() -> (tempfile::TempDir, OrderTable) {
        let folder = tempfile::tempdir().unwrap();
        let table = OrderTable::load(folder.path()).unwrap();
        (folder, table)
    }

    /// A queue is blocked until everything is acknowledged or over; the committed offset is the first gap.
    #[test]
    fn blocks_until_acknowledged() {
        let (_folder, table) = table();
        assert!(table.popped(PLACE, None, 100, 50, &[5, 7, 8]).is_empty());
        assert_eq!(table.blocked_until_ms(PLACE, None, 149), Some(150));
        assert_eq!(table.acked(PLACE, 7, 100), Next::Commit(5));
        assert_eq!(table.acked(PLACE, 5, 100), Next::Commit(8));
        assert_eq!(table.acked(PLACE, 6, 100), Next::Illegal);
        assert_eq!(table.acked(PLACE, 8, 99), Next::Stale);
        assert_eq!(table.blocked_until_ms(PLACE, None, 150), None);
        assert_eq!(table.acked(PLACE, 8, 100), Next::Commit(9));
        assert_eq!(table.blocked_until_ms(PLACE, None, 100), None);
    }

    /// What was given out before is counted, but not for an attempt that asks again; times of single messages count.
    #[test]
    fn counts_and_attempts() {
        let (_folder, table) = table();
        table.popped(PLACE, Some("a"), 100, 50, &[1, 2]);
        assert_eq!(table.blocked_until_ms(PLACE, Some("a"), 110), None);
        assert_eq!(table.blocked_until_ms(PLACE, Some("b"), 110), Some(150));
        assert!(table.popped(PLACE, Some("a"), 110, 50, &[1, 2]).is_empty());
        assert_eq!(table.popped(PLACE, Some("b"), 170, 50, &[1, 2, 3]), [(1, 1), (2, 1)]);
        assert_eq!(table.popped(PLACE, None, 230, 50, &[2, 3]), [(2, 2), (3, 1)]);
        assert!(table.set_visible(PLACE, 2, 230, 500) && !table.set_visible(PLACE, 2, 1, 500));
        assert_eq!(table.blocked_until_ms(PLACE, None, 300), Some(500));
        table.clear(PLACE);
        assert_eq!(table.blocked_until_ms(PLACE, None, 300), None);
    }

    /// The file is Apache's, and what is in it is kept over a start.
    #[test]
    fn file() {
        let (folder, table) = table();
        table.popped(PLACE, None, 100, 50, &[5, 7]);
        table.acked(PLACE, 5, 100);
        assert!(table.save(200).unwrap() && !table.save(200).unwrap());
        let text = std::fs::read_to_string(folder.path().join("consumerOrderInfo.json")).unwrap();
        let text: String = text.split_whitespace().collect();
        assert_eq!(
            text,
            r#"{"table":{"T@g":{0:{"cm":1,"i":50,"l":100,"o":[5,2],"oc":{},"ot":{},"popTime":100}}}}"#
        );
        let again = OrderTable::load(folder.path()).unwrap();
        assert_eq!(again.blocked_until_ms(PLACE, None, 120), Some(150));
        assert_eq!(again.acked(PLACE, 7, 100), Next::Commit(8));
    }
}
