//! The PROXY protocol: a load balancer in front says first whose connection it passes on.
//!
//! The first bytes of an accepted connection go in; out comes how many of them are such a header, and the address of the
//! real peer. Text (version 1) and binary (version 2) are understood. Mirrors `HAProxyMessageHandler`.

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};

const TEXT: &[u8] = b"PROXY ";
/// Longest header of version 1, with its line end.
const TEXT_BYTES_MAX: usize = 107;

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Nothing of the PROXY protocol.
    Plain,
    /// Perhaps a header, but not all of it is there.
    Incomplete,
    /// A header of so many bytes, and whom it names.
    Header(usize, Option<SocketAddr>),
    /// A header that is broken.
    Broken,
}

/// Looks at the first bytes of a connection.
pub(super) fn beginning(bytes: &[u8]) -> Beginning {
    let begins = |with: &[u8]| {
        let count = bytes.len().min(with.len());
        count > 0 && bytes[..count] == with[..count]
    };
    if !begins(TEXT) && !begins(v2::PROTOCOL_PREFIX) {
        return Beginning::Plain;
    }
    let text = begins(TEXT);
    let line_ends = text && bytes.iter().take(TEXT_BYTES_MAX).any(|&byte| byte == b'\n');
    if text && !line_ends {
        // The library calls some beginnings of a line broken that may still become one.
        return if bytes.len() < TEXT_BYTES_MAX { Beginning::Incomplete } else { Beginning::Broken };
    }
    let header = HeaderResult::parse(bytes);
    if header.is_incomplete() && !line_ends {
        return Beginning::Incomplete;
    }
    match header {
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                v1::Addresses::Tcp4(it) => Some((it.source_address, it.source_port).into()),
                v1::Addresses::Tcp6(it) => Some((it.source_address, it.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            Beginning::Header(header.header.len(), source)
        }
        HeaderResult::V2(Ok(header)) => {
            let source = match header.addresses {
                v2::Addresses::IPv4(it) => Some((it.source_address, it.source_port).into()),
                v2::Addresses::IPv6(it) => Some((it.source_address, it.source_port).into()),
                v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
            };
            Beginning::Header(header.len(), source)
        }
        _ => Beginning::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\xa8\0\x07\x0a\0\0\x01\x12\x34\x2a\x9f";

    /// Both forms name the peer, whatever follows them; each prefix of one is incomplete.
    #[test]
    fn headers() {
        let text = b"PROXY TCP4 192.168.0.7 10.0.0.1 4660 10911\r\n";
        let peer = Some("192.168.0.7:4660".parse().unwrap());
        for header in [&text[..], V2] {
            for cut in 1..header.len() {
                assert_eq!(beginning(&header[..cut]), Beginning::Incomplete, "{cut}");
            }
            let mut more = header.to_vec();
            more.extend_from_slice(&[0, 0, 1, 0, 0x16]);
            assert_eq!(beginning(&more), Beginning::Header(header.len(), peer));
        }
        let text = b"PROXY TCP6 ::1 ::2 1 2\r\n";
        assert_eq!(beginning(text), Beginning::Header(text.len(), Some("[::1]:1".parse().unwrap())));
        let unknown = b"PROXY UNKNOWN\r\n";
        assert_eq!(beginning(unknown), Beginning::Header(unknown.len(), None));
    }

    /// Frames and TLS are none, and what begins like one and goes on otherwise is broken.
    #[test]
    fn others() {
        for plain in [&[0, 0, 0, 90][..], &[0x16, 3, 1], b"GET / HTTP/1.1\r\n", b""] {
            assert_eq!(beginning(plain), Beginning::Plain);
        }
        for broken in [
            &b"PROXY TCP4 300.168.0.7 10.0.0.1 4660 10911\r\n"[..],
            b"PROXY TCP4 1.2.3.4\r\n",
            b"PROXY \xff\xff\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\xff\x11\0\0",
            &[b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        ] {
            assert_eq!(beginning(broken), Beginning::Broken, "{}", broken.escape_ascii());
        }
    }
}
