use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{keys::install_crypto, reset::ports::Time};

/// A server that takes one request a connection and answers each with the same bytes, or with none.
async fn server(answer: Option<&'static str>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/verify?a=b#c", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = read(&mut stream).await;
                match answer {
                    Some("") => stream.write_all(echoed(&head).as_bytes()).await.unwrap(),
                    Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    None => std::future::pending().await,
                }
            });
        }
    });
    url.parse().unwrap()
}

async fn read(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn echoed(head: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{head}", head.len())
}

fn client(url: Url, timeout: Duration) -> Client {
    install_crypto();
    let metrics = Arc::new(Metrics::new(Time::from_millis(0)).unwrap());
    Client::new(&Service { url, timeout, tls: None }, Name::Captcha, 512, metrics).unwrap()
}

async fn ask(client: &Client, url: Option<&Url>) -> Result<Whole, Failure> {
    client.send(Method::GET, url, Vec::new(), Bytes::new()).await
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn it_is_asked_at_its_url_or_at_another_of_its_own() {
    let client = client(server(Some("")).await, LONG);
    let seen = async |url: Option<&Url>| {
        String::from_utf8(ask(&client, url).await.unwrap().body.expose().clone()).unwrap().to_lowercase()
    };
    let head = seen(None).await;
    assert!(head.starts_with("get /verify?a=b http/1.1\r\n") && head.contains("user-agent: resetgate/"), "{head}");
    let below = client.url().join("/range/00000?x=y").unwrap();
    assert!(seen(Some(&below)).await.starts_with("get /range/00000?x=y http/1.1\r\n"));
    let elsewhere = Url::parse("http://127.0.0.1:1/").unwrap();
    assert_eq!(ask(&client, Some(&elsewhere)).await.err().unwrap(), Failure::unsent(Kind::Request));
}

#[tokio::test]
async fn whatever_is_answered_is_bounded() {
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 513\r\n\r\n";
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let status = client(server(Some(redirect)).await, LONG);
    assert_eq!(ask(&status, None).await.unwrap().status, StatusCode::FOUND, "a redirect is not followed");
    let failed = "outbound_call_failures_total{kind=\"status\",service=\"captcha\"}";
    assert_eq!(crate::telemetry::metrics::tests::value(&status.metrics.render(), failed), "1");
    let body = "x".repeat(513);
    let long = client(server(Some(Box::leak(format!("{long}{body}").into_boxed_str()))).await, LONG);
    assert_eq!(ask(&long, None).await.err().unwrap().kind, Kind::TooLong);
    let garbage = client(server(Some("garbage\r\n\r\n")).await, LONG);
    assert_eq!(ask(&garbage, None).await.err().unwrap().kind, Kind::Lost);
    let silent = client(server(None).await, Duration::from_millis(100));
    assert_eq!(ask(&silent, None).await.err().unwrap(), Failure::unknown(Kind::Timeout));
    let nobody = client("http://127.0.0.1:1/".parse().unwrap(), LONG);
    assert_eq!(ask(&nobody, None).await.err().unwrap(), Failure::unsent(Kind::Connect));
}
