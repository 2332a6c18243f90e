//! One producing connection: a window of send requests in flight, refilled by every read of answers.
//!
//! In: a connection and what to send. Out: an [`Outcome`] with the time from send to acknowledgement. All
//! frames of the window lie side by side and are written straight from there, so a message costs the
//! patching of five numbers and its share of one `writev`. With a rate, messages are sent when due; one that
//! had to wait for room in the window counts from the moment it was due, so a stall of the server is not
//! hidden by the pause it forces on the load (coordinated omission).

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use super::connection::Connection;
use super::frame::{SendFrame, Varying, code};
use super::load::{Load, Outcome};

/// Marks the bodies of a latency run: eight bytes of run id, then eight of the time sent.
pub(super) const STAMP_BYTES: usize = 16;

/// What one producer sends.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The laid-out frame.
    pub(super) frame: SendFrame,
    /// Messages go round over this many topics …
    pub(super) topics: u32,
    /// … and this many queues of each.
    pub(super) queues: u32,
    /// Requests in flight at most.
    pub(super) in_flight: u32,
    /// Nanoseconds between two messages of this connection; `None` = as fast as answers come.
    pub(super) interval_ns: Option<u64>,
    /// Which of `producers` this is: they start at different topics and queues, and use different keys.
    pub(super) index: u64,
    /// How many share the load.
    pub(super) producers: u64,
    /// Written into each body together with the time of sending.
    pub(super) stamp: Option<u64>,
}

/// A producing connection.
#[derive(Debug)]
pub(super) struct Producer<'a> {
    connection: Connection,
    plan: Plan,
    load: &'a Load,
    /// One frame per slot.
    frames: Vec<u8>,
    free: VecDeque<u32>,
    started_ns: Vec<u64>,
    in_flight: u64,
    sent: u64,
    /// The window was full until this moment: what was due before it had to wait.
    blocked_until_ns: u64,
    outcome: Outcome,
}

impl<'a> Producer<'a> {
    /// Prepares the window.
    pub(super) fn new(connection: Connection, plan: Plan, load: &'a Load) -> Self {
        Self {
            frames: plan.frame.bytes().repeat(plan.in_flight as usize),
            free: (0..plan.in_flight).collect(),
            started_ns: vec![0; plan.in_flight as usize],
            in_flight: 0,
            sent: 0,
            blocked_until_ns: 0,
            outcome: Outcome::new(),
            connection,
            plan,
            load,
        }
    }

    /// Sends until the load is over and everything in flight is answered.
    pub(super) fn run(mut self) -> Outcome {
        if let Err(error) = self.drive() {
            self.load.count(0, self.in_flight);
            self.outcome.fail(format!("connection lost: {error:#}"), self.in_flight.max(1));
        }
        self.outcome
    }

    fn drive(&mut self) -> anyhow::Result<()> {
        loop {
            let now_ns = self.load.now_ns();
            let over = self.load.is_over(now_ns);
            let count = if over { 0 } else { self.load.take(self.sendable(now_ns)) };
            if count > 0 {
                self.send(count, now_ns)?;
            }
            let pause = if over { None } else { self.pause() };
            match pause {
                Some(pause) if self.in_flight == 0 => std::thread::sleep(pause),
                Some(pause) if !self.connection.readable_within(pause)? => {}
                None if self.in_flight == 0 => return Ok(()),
                _ => self.receive()?,
            }
        }
    }

    /// Returns how many messages may be sent now.
    fn sendable(&self, now_ns: u64) -> u64 {
        let room = self.free.len() as u64;
        let Some(interval_ns) = self.plan.interval_ns else { return room };
        let first_ns = self.first_due_ns(interval_ns);
        let due = now_ns.checked_sub(first_ns).map_or(0, |passed| passed / interval_ns + 1 - self.sent);
        due.min(room)
    }

    /// Returns how long a paced producer with room has nothing to send; `None` when it can only read.
    fn pause(&self) -> Option<Duration> {
        let interval_ns = self.plan.interval_ns?;
        let now_ns = self.load.now_ns();
        if self.free.is_empty() || self.load.is_over(now_ns) {
            return None;
        }
        let next_ns = self.first_due_ns(interval_ns) + self.sent * interval_ns;
        let until_ns = next_ns.min(self.load.deadline_ns());
        Some(Duration::from_nanos(until_ns.saturating_sub(now_ns)))
    }

    /// The producers of a load take turns within one interval.
    fn first_due_ns(&self, interval_ns: u64) -> u64 {
        interval_ns * self.plan.index / self.plan.producers
    }

    fn send(&mut self, count: u64, now_ns: u64) -> anyhow::Result<()> {
        let frame_bytes = self.plan.frame.bytes().len();
        let pace = self.plan.interval_ns.map(|it| (self.first_due_ns(it), it));
        let born_ms = self.load.wall_ms(now_ns);
        let mut pieces: Vec<(usize, usize)> = Vec::with_capacity(4);
        for _ in 0..count {
            let slot = self.free.pop_front().expect("sendable() counted the free slots");
            let start = slot as usize * frame_bytes;
            let turn = self.sent * self.plan.producers + self.plan.index;
            let to = Varying {
                slot,
                topic: (turn % u64::from(self.plan.topics)) as u32,
                queue_id: (turn / u64::from(self.plan.topics) % u64::from(self.plan.queues)) as u32,
                born_ms,
                sequence: turn,
            };
            let copy = &mut self.frames[start..start + frame_bytes];
            self.plan.frame.patch(copy, to);
            let due_ns = pace.map(|(first_ns, interval_ns)| first_ns + self.sent * interval_ns);
            let from_ns = due_ns.filter(|due_ns| *due_ns < self.blocked_until_ns).unwrap_or(now_ns);
            if let Some(run) = self.plan.stamp {
                let body = &mut copy[self.plan.frame.body()];
                body[..8].copy_from_slice(&run.to_be_bytes());
                body[8..STAMP_BYTES].copy_from_slice(&from_ns.to_be_bytes());
            }
            self.started_ns[slot as usize] = from_ns;
            self.sent += 1;
            match pieces.last_mut() {
                Some((_, end)) if *end == start => *end += frame_bytes,
                _ => pieces.push((start, start + frame_bytes)),
            }
        }
        self.in_flight += count;
        if let [(start, end)] = pieces[..] {
            self.connection.write(&self.frames[start..end])?;
        } else {
            let mut slices: Vec<_> =
                pieces.iter().map(|(start, end)| IoSlice::new(&self.frames[*start..*end])).collect();
            self.connection.write_pieces(&mut slices)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let was_full = self.free.is_empty();
        let Self { connection, free, started_ns, outcome, plan, load, in_flight, .. } = self;
        let body_bytes = plan.frame.body().len() as u64;
        let mut now_ns = None;
        let (mut done, mut failed) = (0, 0);
        connection.read(|answer| {
            let Some(slot) = answer.slot.filter(|slot| *slot < plan.in_flight) else { return };
            free.push_back(slot);
            *in_flight -= 1;
            if answer.code == code::SUCCESS {
                let now_ns = *now_ns.get_or_insert_with(|| load.now_ns());
                outcome.latency.record(now_ns.saturating_sub(started_ns[slot as usize]));
                done += 1;
            } else {
                outcome.fail(answer.refusal(), 1);
                failed += 1;
            }
        })?;
        outcome.messages += done;
        outcome.bytes += done * body_bytes;
        load.count(done, failed);
        if was_full && self.plan.interval_ns.is_some() {
            self.blocked_until_ns = self.load.now_ns();
        }
        Ok(())
    }
}
