//! Reading and writing the numbers and addresses of a record, one behind the other; all of them big-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::RecordError;

/// Reads on from `at`; refuses to read past the end.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or(RecordError::Truncated {
            needed: self.at.saturating_add(len),
            available: self.bytes.len(),
        })?;
        self.at += len;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        Ok(self.take(N)?.try_into().expect("take returns as many bytes as asked"))
    }

    #[inline]
    pub(super) fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    #[inline]
    pub(super) fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    #[inline]
    pub(super) fn host(&mut self, is_v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if is_v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        // The port's upper half is never used by a writer; a reader of ours ignores it.
        Ok(SocketAddr::new(ip, self.i32()? as u16))
    }
}

/// Writes on from `at` into room that is large enough.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut [u8],
    pub(super) at: usize,
}

impl Writer<'_> {
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline]
    pub(super) fn host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put(&i32::from(host.port()).to_be_bytes());
    }
}
