use std::time::Duration;

use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor, message::header::ContentType};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::*;

async fn mailbox() -> Mailbox {
    let listener = || TcpListener::bind("127.0.0.1:0");
    Mailbox::start(listener().await.unwrap(), listener().await.unwrap())
}

async fn get(mailbox: &Mailbox, path: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let answer = client.get(format!("http://{}{path}", mailbox.http_address())).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn smtp(mailbox: &Mailbox) -> AsyncSmtpTransport<Tokio1Executor> {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(mailbox.smtp_address().port()).build()
}

fn message(to: &str, body: &str) -> Message {
    Message::builder()
        .from("IT <info@example.com>".parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Zurücksetzen <b>")
        .header(ContentType::TEXT_PLAIN)
        .body(body.to_owned())
        .unwrap()
}

/// A conversation, line by line.
struct Talk(BufReader<TcpStream>);

impl Talk {
    async fn new(mailbox: &Mailbox) -> Self {
        let mut talk = Self(BufReader::new(TcpStream::connect(mailbox.smtp_address()).await.unwrap()));
        assert!(talk.hear().await.starts_with("220 "));
        talk
    }

    async fn hear(&mut self) -> String {
        let mut heard = String::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            let last = line.as_bytes().get(3) != Some(&b'-');
            heard.push_str(&line);
            if last {
                return heard;
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.hear().await
    }

    async fn expect(&mut self, pairs: &[(&str, &str)]) {
        for (line, code) in pairs {
            let reply = self.say(line).await;
            assert!(reply.starts_with(code), "{line}: {reply}");
        }
    }
}

#[tokio::test]
async fn takes_what_a_mail_client_sends() {
    let mailbox = mailbox().await;
    let sender = smtp(&mailbox);
    sender.send(message("o'brien@example.com", "Hä?\r\n.\r\n..dots\r\nhttp://h/#/&token=a&code=b")).await.unwrap();
    mailbox.arrived(1).await;
    sender.send(message("zoe@example.com", "two")).await.unwrap();
    mailbox.arrived(2).await;
    let mails = mailbox.mails();
    assert_eq!(mails.iter().map(|mail| mail.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(mails[0].to, ["o'brien@example.com"]);
    assert_eq!((&*mails[0].from, &*mails[0].subject), ("info@example.com", "Zurücksetzen <b>"));
    assert_eq!(mails[0].text, "Hä?\n.\n..dots\nhttp://h/#/&token=a&code=b\n");
    assert_eq!(mails[0].links, ["http://h/#/&token=a&code=b"]);
    assert!(mails[0].raw.starts_with(b"From: "));
}

#[tokio::test]
async fn keeps_the_order_of_smtp() {
    let mailbox = mailbox().await;
    let mut talk = Talk::new(&mailbox).await;
    talk.expect(&[
        ("MAIL FROM:<a@example.com>", "503"),
        ("HELO x", "250 "),
        ("EHLO x", "250-"),
        ("RCPT TO:<b@example.com>", "503"),
        ("DATA", "503"),
        ("MAIL FROM:<a@example.com> SIZE=2000000", "552"),
        ("MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME", "250"),
        ("MAIL FROM:<a@example.com>", "503"),
        ("DATA", "503"),
        ("RCPT TO:nobody", "501"),
        ("RCPT TO:<b@example.com>", "250"),
        ("RSET", "250"),
        ("DATA", "503"),
        ("VRFY b", "252"),
        ("NOOP", "250"),
        ("STARTTLS", "502"),
        ("WHAT", "500"),
        ("mail from:<>", "250"),
        ("rcpt to:<b@example.com>", "250"),
        ("rcpt to:<c@example.com>", "250"),
        ("DATA", "354"),
        ("..first\r\nSubject: x\r\n..\r\n.", "250"),
        ("MAIL FROM:<a@example.com>", "250"),
        ("RCPT TO:<d@example.com>", "250"),
        ("DATA", "354"),
        (".", "250"),
        ("QUIT", "221"),
    ])
    .await;
    let mails = mailbox.mails();
    assert_eq!(
        (&mails[0].to[..], &mails[1].to[..]),
        (&["b@example.com".to_owned(), "c@example.com".to_owned()][..], &["d@example.com".to_owned()][..])
    );
    assert_eq!((&mails[0].raw[..], &mails[1].raw[..]), (&b".first\r\nSubject: x\r\n.\r\n"[..], &b""[..]));
}

#[tokio::test]
async fn a_mail_that_is_too_big_is_refused_and_the_next_is_not() {
    let mailbox = mailbox().await;
    let mut talk = Talk::new(&mailbox).await;
    let begin = [("MAIL FROM:<a@example.com>", "250"), ("RCPT TO:<b@example.com>", "250"), ("DATA", "354")];
    talk.expect(&[("EHLO x", "250")]).await;
    talk.expect(&begin).await;
    talk.expect(&[(&format!("{}.", "x\r\n".repeat(400_000)), "552")]).await;
    talk.expect(&begin).await;
    talk.expect(&[("small\r\n.", "250")]).await;
    assert_eq!(mailbox.mails().len(), 1);
}

#[tokio::test]
async fn a_line_or_a_patience_has_an_end() {
    let mailbox = mailbox().await;
    assert!(Talk::new(&mailbox).await.say(&"x".repeat(5_000)).await.starts_with("500"));
    let mut talk = Talk::new(&mailbox).await;
    for _ in 0..20 {
        assert!(talk.say("WHAT").await.starts_with("500"));
    }
    assert!(talk.say("WHAT").await.starts_with("421"));
}

#[tokio::test]
async fn shows_mail_as_json_and_as_a_page() {
    let mailbox = mailbox().await;
    assert_eq!(get(&mailbox, "/mails").await, (200, "[]".to_owned()));
    assert_eq!(get(&mailbox, "/count").await, (200, "0".to_owned()));
    let (waiting, ()) = tokio::join!(get(&mailbox, "/mails?after=0"), async {
        smtp(&mailbox).send(message("b@example.com", "<i>http://h/</i>")).await.unwrap();
    });
    let mails: serde_json::Value = serde_json::from_str(&waiting.1).unwrap();
    assert_eq!(mails[0]["to"], json!(["b@example.com"]));
    assert_eq!(mails[0]["links"], json!(["http://h/"]));
    let mut keys: Vec<_> = mails[0].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["from", "html", "links", "number", "received", "subject", "text", "to"]);
    assert_eq!(get(&mailbox, "/count").await.1, "1");
    assert_eq!(get(&mailbox, "/mails?after=x").await.0, 400);
    let (status, page) = get(&mailbox, "/").await;
    assert_eq!(status, 200);
    assert!(page.contains("Zurücksetzen &lt;b&gt;") && page.contains("<a href=\"http://h/\""), "{page}");
    assert!(get(&mailbox, "/app.js").await.1.contains("fetch"));
    assert_eq!(get(&mailbox, "/nothing").await.0, 404);
}

#[tokio::test]
async fn keeps_the_last_mails_only() {
    let inbox = Inbox::default();
    let put = |data: Vec<u8>| inbox.put(Envelope { from: String::new(), to: Vec::new(), data });
    (0..MAILS + 5).for_each(|_| put(b"x".to_vec()));
    assert_eq!((inbox.after(0).len(), inbox.after(0)[0].number), (MAILS, 6));
    put(vec![b'x'; BYTES]);
    assert_eq!(inbox.after(0).len(), 1);
    inbox.arrived(MAILS as u64 + 6).await;
}
