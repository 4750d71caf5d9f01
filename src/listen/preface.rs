//! Whether a client begins with HTTP/2. Pingora's own look waits for 24 bytes, for ever: a short request, or a client that
//! says nothing, would hang.

use std::io;

use tokio::io::AsyncReadExt;

use super::Connection;

/// RFC 9113 §3.4. No request of HTTP/1.1 begins like it.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads as long as the bytes are the preface's, and puts them back. They are the first of a head, with its deadline.
///
/// # Errors
/// The connection's: it is idle or slow, or broken.
pub(crate) async fn starts_http2(connection: &mut Connection) -> io::Result<bool> {
    let mut read = [0; PREFACE.len()];
    let mut filled = 0;
    while let Some(room) = read.get_mut(filled..).filter(|room| !room.is_empty()) {
        let came = connection.read(room).await?;
        filled += came;
        if came == 0 || read.get(..filled) != PREFACE.get(..filled) {
            break;
        }
    }
    let read = read.get(..filled).unwrap_or_default();
    connection.unread(read);
    Ok(read == PREFACE)
}
