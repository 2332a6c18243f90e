//! TLS on an accepted connection: the server's side of a session, driven by the connection's own reads and writes.
//!
//! A connection whose first byte is a TLS handshake record speaks TLS from there on; all others stay plain, on the same
//! port (the reference's `tls.server.mode=permissive`). The certificate is made when the first such connection comes
//! and signed by itself, as the reference's in its default test mode: clients that trust any certificate, the default
//! of Java and Go, take it. Client certificates are not asked for. Mirrors `TlsHelper`.

use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

/// First byte of a TLS handshake record; as the first byte of a frame it would mean 350 MiB.
pub(super) const HANDSHAKE: u8 = 0x16;
/// Bytes that wait to be encrypted or sent; beyond it a write has to wait.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// The server's side of one TLS session.
pub(super) struct Tls {
    session: ServerConnection,
}

impl Tls {
    /// Begins a session with the bytes that have been read already.
    pub(super) fn accept(mut hello: &[u8]) -> io::Result<Self> {
        let mut session = ServerConnection::new(config()?).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(BUFFER_BYTES_MAX));
        while !hello.is_empty() {
            session.read_tls(&mut hello)?;
            session.process_new_packets().map_err(broken)?;
        }
        Ok(Self { session })
    }

    /// Appends what the peer has sent to `read`; 0 when it sends no more.
    pub(super) fn poll_read(
        &mut self,
        stream: &TcpStream,
        context: &mut Context<'_>,
        read: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut reader = self.session.reader();
            match reader.fill_buf() {
                Ok(plain) => {
                    let count = plain.len();
                    read.extend_from_slice(plain);
                    reader.consume(count);
                    return Poll::Ready(Ok(count));
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                // The peer went without a farewell of TLS.
                Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                Err(cause) => return Poll::Ready(Err(cause)),
            }
            ready!(stream.poll_read_ready(context))?;
            match self.session.read_tls(&mut Socket(stream)) {
                Ok(_) => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => continue,
                Err(cause) => return Poll::Ready(Err(cause)),
            }
            let processed = self.session.process_new_packets();
            // What it wants to say about it, be it the next step of the handshake or why it ends.
            self.flush(stream)?;
            processed.map_err(broken)?;
        }
    }

    /// Takes some bytes to be sent; "would block" when too many wait already.
    pub(super) fn try_write(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(stream)?;
        let taken = self.session.writer().write(bytes)?;
        self.flush(stream)?;
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Says whether something waits for the socket.
    pub(super) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Socket(stream)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// Says farewell, so that the peer knows that nothing was cut off.
    pub(super) fn close(&mut self, stream: &TcpStream) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush(stream)
    }
}

/// The socket as rustls wants it: it comes back with "would block" instead of waiting.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken(cause: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {cause}"))
}

/// Returns the configuration of every session, with the certificate of this process.
fn config() -> io::Result<Arc<ServerConfig>> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .map_err(io::Error::other)?;
    tracing::info!("a client speaks TLS: made a certificate that is signed by itself");
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}
