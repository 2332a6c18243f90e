//! The floor: a server that does nothing but speak, so that `make bench` knows what a message costs before
//! anybody stores it.
//!
//! In: SEND_MESSAGE_V2, SEND_MESSAGE and PULL_MESSAGE frames with JSON headers. Out: answers of the size that
//! Apache's have; a pull gets 32 prepared message records, from a stretch of memory too large for the
//! processor's caches, as a backlog is. A thread per connection reads what is there, scans
//! each header for code and opaque, copies the body of a send into a ring in memory, and writes all answers of
//! one read at once. It validates nothing, keeps nothing and serves nobody but the load generator.
//!
//! With a FILE it also does what no server can save that lets its messages outlive its process and has one log for all
//! queues: it appends what each read brought to the file, in one write, before it answers; and the records of a pull
//! come out of the mapped file, in which they stand as far apart as those of one queue among 32.
//!
//! `cargo run --release --example floor -- [PORT [BODY_BYTES [FILE]]]` prints `floor listens on 127.0.0.1:PORT`.

use std::error::Error;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem;
use memmap2::Mmap;

const READ_BYTES: usize = 256 * 1024;
const RING_BYTES: usize = 4 * 1024 * 1024;
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Larger than any level of cache.
const PREPARED_BYTES: usize = 256 * 1024 * 1024;
const PULL_MESSAGE: u64 = 11;
const PULL_BATCH: usize = 32;
/// Queues whose messages take turns in a log: as many as `make bench` pulls.
const QUEUES: usize = 32;
const PIECES_MAX: usize = 1_024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let body_bytes = arguments.next().map_or(Ok(1_024), |text| text.parse())?;
    let mut prepared = Prepared::new(body_bytes);
    let log = arguments.next().map(|path| prepared.move_to(&path)).transpose()?;
    let (prepared, log) = (Arc::new(prepared), Arc::new(log));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("floor listens on {}", listener.local_addr()?);
    for (stream, number) in listener.incoming().zip(0..) {
        let (stream, prepared, log) = (stream?, Arc::clone(&prepared), Arc::clone(&log));
        std::thread::spawn(move || {
            // A peer that goes away ends its thread; there is nobody to tell.
            let _ = Connection::new(stream, prepared, log, number).and_then(Connection::serve);
        });
    }
    Ok(())
}

/// Message records for pulls.
struct Prepared {
    records: Box<dyn AsRef<[u8]> + Send + Sync>,
    record_bytes: usize,
    /// In how many queues they are: those of a batch stand so many records apart.
    queues: usize,
}

impl Prepared {
    fn new(body_bytes: usize) -> Self {
        let record = record(body_bytes);
        let records = record.repeat((PREPARED_BYTES / record.len()).max(QUEUES * PULL_BATCH));
        Self { records: Box::new(records), record_bytes: record.len(), queues: 1 }
    }

    /// Moves the records to a file, as the log of many queues; what is appended goes behind them.
    fn move_to(&mut self, path: &str) -> Result<Log, Box<dyn Error>> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let records = (*self.records).as_ref();
        file.write_all_at(records, 0)?;
        let end = AtomicU64::new(records.len() as u64);
        #[allow(unsafe_code)]
        // SAFETY: nobody else has the file, and what is mapped now is never written again.
        let records = unsafe { Mmap::map(&file)? };
        (self.records, self.queues) = (Box::new(records), QUEUES);
        Ok(Log { file, end })
    }

    fn batch_bytes(&self) -> usize {
        self.record_bytes * PULL_BATCH
    }

    /// Adds the pieces of a batch of a queue; there is one for any numbers.
    fn push<'a>(&'a self, (queue, batch): (usize, usize), pieces: &mut Vec<IoSlice<'a>>) {
        let records = (*self.records).as_ref();
        let batches = records.len() / self.batch_bytes() / self.queues;
        if self.queues == 1 {
            // Queues start far from each other.
            let start = (batch + queue * 97) % batches * self.batch_bytes();
            pieces.push(IoSlice::new(&records[start..start + self.batch_bytes()]));
            return;
        }
        let first = batch % batches * PULL_BATCH;
        pieces.extend((first..first + PULL_BATCH).map(|record| {
            let start = (record * self.queues + queue % self.queues) * self.record_bytes;
            IoSlice::new(&records[start..start + self.record_bytes])
        }));
    }
}

/// A file that every connection appends to.
struct Log {
    file: File,
    end: AtomicU64,
}

struct Connection {
    stream: TcpStream,
    prepared: Arc<Prepared>,
    log: Arc<Option<Log>>,
    /// Counts the connections, so that each pulls from elsewhere.
    number: u64,
    ring: Vec<u8>,
    ring_at: usize,
    answers: Vec<u8>,
    /// Where in `answers` a prepared batch belongs, of which queue and which one.
    batches: Vec<(usize, (usize, usize))>,
}

impl Connection {
    fn new(
        stream: TcpStream,
        prepared: Arc<Prepared>,
        log: Arc<Option<Log>>,
        number: u64,
    ) -> Result<Self, Box<dyn Error>> {
        stream.set_nodelay(true)?;
        let (ring, answers, batches) = (vec![0; RING_BYTES], Vec::new(), Vec::new());
        Ok(Self { stream, prepared, log, number, ring, ring_at: 0, answers, batches })
    }

    fn serve(mut self) -> Result<(), Box<dyn Error>> {
        let mut buffer = vec![0; READ_BYTES];
        let (mut start, mut end) = (0, 0);
        loop {
            if end == buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            let count = self.stream.read(&mut buffer[end..])?;
            if count == 0 {
                return Ok(());
            }
            end += count;
            let ring_from = self.ring_at;
            while let Some((header, body)) = frame(&buffer[start..end])? {
                self.answer(header, body).ok_or("a header without code or opaque")?;
                start += 8 + header.len() + body.len();
            }
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            self.append(ring_from)?;
            self.flush()?;
        }
    }

    fn answer(&mut self, header: &[u8], body: &[u8]) -> Option<()> {
        let (code, opaque) = (number(header, b"\"code\":")?, number(header, b"\"opaque\":")?);
        let start = self.answers.len();
        self.answers.extend_from_slice(&[0; 8]);
        let body_bytes = if code == PULL_MESSAGE {
            let queue_offset = number(header, b"\"queueOffset\":\"")?;
            let next = queue_offset + PULL_BATCH as u64;
            write!(
                self.answers,
                "{{\"code\":0,\"extFields\":{{\"suggestWhichBrokerId\":\"0\",\"nextBeginOffset\":\"{next}\",\
                 \"minOffset\":\"0\",\"maxOffset\":\"9999999999\",\"topicSysFlag\":\"0\",\
                 \"groupSysFlag\":\"0\"}},\"flag\":1,\"language\":\"JAVA\",\"opaque\":{opaque},\
                 \"remark\":\"FOUND\",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}}"
            )
            .ok()?;
            // The opaque stands for the queue, of which each connection has its own.
            let queue = opaque % 1_024 + self.number * 8;
            let batch = queue_offset as usize / PULL_BATCH;
            self.batches.push((self.answers.len(), (queue as usize, batch)));
            self.prepared.batch_bytes()
        } else {
            self.keep(body);
            write!(
                self.answers,
                "{{\"code\":0,\"extFields\":{{\"queueId\":\"0\",\"TRACE_ON\":\"true\",\
                 \"MSG_REGION\":\"DefaultRegion\",\"msgId\":\"7F00000100002A9F0000000000000000\",\
                 \"queueOffset\":\"0\",\"transactionId\":\"00000000000000000000000000000000\"}},\"flag\":1,\
                 \"language\":\"JAVA\",\"opaque\":{opaque},\"serializeTypeCurrentRPC\":\"JSON\",\
                 \"version\":479}}"
            )
            .ok()?;
            0
        };
        let header_bytes = self.answers.len() - start - 8;
        let total = (4 + header_bytes + body_bytes) as u32;
        self.answers[start..start + 4].copy_from_slice(&total.to_be_bytes());
        self.answers[start + 4..start + 8].copy_from_slice(&(header_bytes as u32).to_be_bytes());
        Some(())
    }

    fn keep(&mut self, body: &[u8]) {
        let body = &body[..body.len().min(RING_BYTES)];
        if self.ring_at + body.len() > RING_BYTES {
            self.ring_at = 0;
        }
        self.ring[self.ring_at..self.ring_at + body.len()].copy_from_slice(body);
        self.ring_at += body.len();
    }

    /// Writes what came into the ring since `from` to the file, if there is one; a little less where the ring began anew.
    fn append(&self, from: usize) -> Result<(), Box<dyn Error>> {
        let Some(log) = &*self.log else { return Ok(()) };
        let kept = &self.ring[if from <= self.ring_at { from } else { 0 }..self.ring_at];
        let at = log.end.fetch_add(kept.len() as u64, Ordering::Relaxed);
        Ok(log.file.write_all_at(kept, at)?)
    }

    fn flush(&mut self) -> Result<(), Box<dyn Error>> {
        if self.batches.is_empty() {
            self.stream.write_all(&self.answers)?;
        } else {
            let mut pieces = Vec::with_capacity(self.batches.len() * 2);
            let mut from = 0;
            for (at, batch) in self.batches.drain(..) {
                pieces.push(IoSlice::new(&self.answers[from..at]));
                self.prepared.push(batch, &mut pieces);
                from = at;
            }
            let mut rest = &mut pieces[..];
            while !rest.is_empty() {
                let count = rest.len().min(PIECES_MAX);
                let written = self.stream.write_vectored(&rest[..count])?;
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        self.answers.clear();
        Ok(())
    }
}

/// Header and body of a frame.
type Frame<'a> = (&'a [u8], &'a [u8]);

/// Splits the first frame off; `None` while it is incomplete.
fn frame(input: &[u8]) -> Result<Option<Frame<'_>>, Box<dyn Error>> {
    let Some(prefix) = input.first_chunk::<8>() else { return Ok(None) };
    let total = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    let header_bytes = u32::from_be_bytes([0, prefix[5], prefix[6], prefix[7]]) as usize;
    if total > FRAME_BYTES_MAX || total < 4 + header_bytes {
        return Err("a frame whose lengths cannot be".into());
    }
    Ok(input.get(8..4 + total).map(|rest| rest.split_at(header_bytes)))
}

fn number(header: &[u8], name: &[u8]) -> Option<u64> {
    let at = memmem::find(header, name)? + name.len();
    let digits = header[at..].iter().take_while(|byte| byte.is_ascii_digit()).take(18);
    Some(digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// One message record as a consumer gets it: 88 bytes of fixed fields, body, topic and properties.
fn record(body_bytes: usize) -> Vec<u8> {
    let mut record = vec![0; 88];
    record[4..8].copy_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
    record[84..88].copy_from_slice(&(body_bytes as u32).to_be_bytes());
    record.resize(88 + body_bytes, b'x');
    let properties = [b'p'; 90];
    record.extend_from_slice(b"\x05floor");
    record.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    record.extend_from_slice(&properties);
    let size = record.len() as u32;
    record[..4].copy_from_slice(&size.to_be_bytes());
    record
}
