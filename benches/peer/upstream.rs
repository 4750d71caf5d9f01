//! What stands behind those that are measured, and answers faster than any of them.

use std::io::Result;

use tokio::net::TcpListener;

use crate::wire::Wire;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Answers with a short JSON, and `/zeros/N` with that many bytes. Where accounts are looked for, whoever is called
/// `user-…` is there, and a PATCH of theirs is done.
pub(crate) async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            // A client that goes away is no news.
            let _ = converse(Wire::new(stream)?).await;
            Result::Ok(())
        });
    }
}

async fn converse(mut wire: Wire) -> Result<()> {
    loop {
        let (head, _) = wire.message().await?;
        let target = head.split(' ').nth(1).unwrap_or_default();
        if let Some(count) = target.strip_prefix("/zeros/") {
            let mut left: usize = count.parse().unwrap();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").as_bytes()).await?;
            while left > 0 {
                let most = left.min(ZEROS.len());
                wire.send(&ZEROS[..most]).await?;
                left -= most;
            }
            continue;
        }
        let body = match target.split_once("_queryFilter=") {
            Some((_, filter)) => {
                let found = filter.split("%22").nth(1).filter(|name| name.starts_with("user-")).map(account);
                format!("{{\"result\":[{}]}}", found.unwrap_or_default())
            }
            None => match target.split_once("/user-") {
                Some((_, rest)) => account(&format!("user-{}", rest.split('?').next().unwrap_or_default())),
                None => "{\"_id\":\"ping\",\"shortDesc\":\"it is ready\"}\n".to_owned(),
            },
        };
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        wire.send((head + &body).as_bytes()).await?;
    }
}

fn account(name: &str) -> String {
    format!(
        "{{\"_id\":\"{name}\",\"_rev\":\"1\",\"userName\":\"{name}\",\"mail\":\"{name}@example.com\",\
         \"accountStatus\":\"active\"}}"
    )
}
