//! The bytes of replication: what a slave reports and what a master sends.
//!
//! A slave sends 8 bytes again and again: where its log ends. A master sends frames: a header of 12 bytes (where the
//! body stands in the log, and its length) and the body, which is log as it lies in the file. An empty body
//! is a heartbeat. A frame may begin and end anywhere in a record, but never crosses a file's end.

/// Bytes of a slave's report.
pub const REPORT_BYTES: usize = 8;
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 12;
/// Longest frame: Apache's slave has a buffer of this size.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Longest body.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;

/// Why the other end does not speak the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No log has this offset.
    #[error("offset {0} is negative")]
    Offset(i64),
    /// No frame has this length.
    #[error("a body of {0} bytes is announced; 0 to {BODY_BYTES_MAX} are possible")]
    Body(i32),
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the body stands in the log; of a heartbeat, where the next one will.
    pub physical_offset: i64,
    /// Length of the body.
    pub body_bytes: usize,
}

impl Header {
    /// Writes the header.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[8..].copy_from_slice(&(self.body_bytes as i32).to_be_bytes());
        bytes
    }

    /// Reads the header.
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let (offset, length) = bytes.split_at(REPORT_BYTES);
        let physical_offset = decode_report(offset.try_into().expect("split there"))?;
        let length = i32::from_be_bytes(length.try_into().expect("4 are left"));
        match usize::try_from(length) {
            Ok(body_bytes) if body_bytes <= BODY_BYTES_MAX => Ok(Self { physical_offset, body_bytes }),
            _ => Err(FrameError::Body(length)),
        }
    }
}

/// Reads a slave's report: where its log ends.
pub fn decode_report(bytes: [u8; REPORT_BYTES]) -> Result<i64, FrameError> {
    let offset = i64::from_be_bytes(bytes);
    if offset < 0 { Err(FrameError::Offset(offset)) } else { Ok(offset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout, byte for byte, and what no end of the protocol sends.
    #[test]
    fn layout() {
        let header = Header { physical_offset: 0x0102_0304_0506_0708, body_bytes: 0x0001_0203 };
        assert_eq!(header.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3]);
        assert_eq!(Header::decode(header.encode()), Ok(header));
        assert_eq!(decode_report([0xff; 8]), Err(FrameError::Offset(-1)));
        let long = Header { physical_offset: 0, body_bytes: BODY_BYTES_MAX + 1 };
        assert_eq!(Header::decode(long.encode()), Err(FrameError::Body(BODY_BYTES_MAX as i32 + 1)));
        let mut negative = Header { physical_offset: 0, body_bytes: 0 }.encode();
        negative[8] = 0x80;
        assert_eq!(Header::decode(negative), Err(FrameError::Body(i32::MIN)));
    }
}
