//! The receiving side of SMTP (RFC 5321): one conversation, without encryption or sign-in. Commands and the end of data
//! are read by `smtp-proto`; limits and the order of things are kept here.

use std::{io, time::Duration};

use smtp_proto::{Error, Request, request::receiver::DataReceiver};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// A command's line.
const LINE: u64 = 4096;
/// A mail.
const MAIL: usize = 1024 * 1024;
const RECIPIENTS: usize = 100;
/// Commands in one conversation that make no sense.
const MISTAKES: usize = 20;
/// RFC 5321's own: for the next command, and here for the whole of a mail.
const TIME: Duration = Duration::from_secs(300);

/// A mail as it was handed over.
pub(super) struct Envelope {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) data: Vec<u8>,
}

/// Talks to one client until it leaves; `deliver` gets each mail before the client hears that it was taken.
pub(super) async fn converse(mut socket: TcpStream, deliver: impl Fn(Envelope)) -> io::Result<()> {
    let (read, mut write) = socket.split();
    let mut read = BufReader::new(read);
    let mut session = Session::default();
    let mut mistakes = 0;
    write.write_all(b"220 mailbox.demo ESMTP\r\n").await?;
    loop {
        let mut line = Vec::new();
        timeout(TIME, (&mut read).take(LINE).read_until(b'\n', &mut line)).await??;
        if line.last() != Some(&b'\n') {
            if line.len() as u64 == LINE {
                write.write_all(b"500 5.5.2 Line too long\r\n").await?;
            }
            return Ok(());
        }
        let reply = match session.take(Request::parse(&mut line.iter())) {
            Next::Reply(reply) => reply,
            Next::Mistake(reply) => {
                mistakes += 1;
                if mistakes > MISTAKES {
                    return write.write_all(b"421 4.7.0 Too many mistakes\r\n").await;
                }
                reply
            }
            Next::Data { from, to } => {
                write.write_all(b"354 End with a dot on a line of its own\r\n").await?;
                match timeout(TIME, data(&mut read)).await?? {
                    Some(data) => {
                        deliver(Envelope { from, to, data });
                        "250 2.6.0 Taken\r\n"
                    }
                    None => "552 5.3.4 Too big\r\n",
                }
            }
            Next::Quit => return write.write_all(b"221 2.0.0 Bye\r\n").await,
        };
        write.write_all(reply.as_bytes()).await?;
    }
}

/// The mail up to its final dot, or nothing if it was too big.
async fn data(read: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut receiver = DataReceiver::new();
    // A dot on the very first line counts as well: the receiver has to know that a line has just ended.
    receiver.ingest(&mut b"\r\n".iter(), &mut Vec::new());
    let (mut mail, mut too_big) = (Vec::new(), false);
    loop {
        let chunk = read.fill_buf().await?;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = chunk.iter();
        let ended = receiver.ingest(&mut bytes, &mut mail);
        let used = chunk.len() - bytes.len();
        read.consume(used);
        if too_big || mail.len() > MAIL {
            too_big = true;
            mail.clear();
        }
        if ended {
            return Ok((!too_big).then_some(mail));
        }
    }
}

#[derive(Default)]
struct Session {
    greeted: bool,
    from: Option<String>,
    to: Vec<String>,
}

enum Next {
    Reply(&'static str),
    Mistake(&'static str),
    Data { from: String, to: Vec<String> },
    Quit,
}

impl Session {
    fn take<T: Into<String>>(&mut self, request: Result<Request<T>, Error>) -> Next {
        match request {
            Ok(Request::Ehlo { .. }) => {
                self.start();
                Next::Reply("250-mailbox.demo\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 1048576\r\n")
            }
            Ok(Request::Helo { .. }) => {
                self.start();
                Next::Reply("250 mailbox.demo\r\n")
            }
            Ok(Request::Mail { .. }) if !self.greeted => Next::Mistake("503 5.5.1 Say EHLO first\r\n"),
            Ok(Request::Mail { .. }) if self.from.is_some() => Next::Mistake("503 5.5.1 One sender a mail\r\n"),
            Ok(Request::Mail { from }) if from.size > MAIL => Next::Reply("552 5.3.4 Too big\r\n"),
            Ok(Request::Mail { from }) => {
                self.from = Some(from.address.into());
                Next::Reply("250 2.1.0 Sender ok\r\n")
            }
            Ok(Request::Rcpt { .. }) if self.from.is_none() => Next::Mistake("503 5.5.1 Say MAIL first\r\n"),
            Ok(Request::Rcpt { .. }) if self.to.len() >= RECIPIENTS => Next::Reply("452 4.5.3 Too many recipients\r\n"),
            Ok(Request::Rcpt { to }) => {
                self.to.push(to.address.into());
                Next::Reply("250 2.1.5 Recipient ok\r\n")
            }
            Ok(Request::Data) => match self.from.take_if(|_| !self.to.is_empty()) {
                Some(from) => Next::Data { from, to: std::mem::take(&mut self.to) },
                None => Next::Mistake("503 5.5.1 Say RCPT first\r\n"),
            },
            Ok(Request::Rset) => {
                self.clear();
                Next::Reply("250 2.0.0 Forgotten\r\n")
            }
            Ok(Request::Noop { .. }) => Next::Reply("250 2.0.0 Ok\r\n"),
            Ok(Request::Vrfy { .. }) => Next::Reply("252 2.5.0 Everyone lives here\r\n"),
            Ok(Request::Quit) => Next::Quit,
            Ok(_) => Next::Mistake("502 5.5.1 Not implemented\r\n"),
            Err(Error::InvalidSenderAddress | Error::InvalidRecipientAddress) => {
                Next::Mistake("553 5.1.3 That is no address\r\n")
            }
            Err(Error::SyntaxError { .. }) => Next::Mistake("501 5.5.4 Syntax error\r\n"),
            Err(Error::InvalidParameter { .. } | Error::UnsupportedParameter { .. }) => {
                Next::Mistake("555 5.5.4 Parameter not known\r\n")
            }
            Err(_) => Next::Mistake("500 5.5.1 Command not known\r\n"),
        }
    }

    fn start(&mut self) {
        self.clear();
        self.greeted = true;
    }

    fn clear(&mut self) {
        self.from = None;
        self.to.clear();
    }
}
