//! Who runs the reset's steps: this process, or the one that has taken over from it and holds the codes now. Requests that
//! still come here are passed on to it then, so that no client meets the change.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::{
    Error, ErrorType,
    http::RequestHeader,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy},
};
use tokio::{sync::watch, time::timeout};

use crate::reset::ports::Client;

/// Who runs them.
#[derive(Clone, Debug)]
pub enum Steps {
    /// This process.
    Here,
    /// Nobody, until it is clear.
    Held,
    /// The process that listens on that Unix socket.
    There(Arc<Path>),
}

/// How long a request waits until it is clear.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the other process lets a step take.
const WITHIN: Duration = Duration::from_secs(30);
/// Says who the client is, from one process to the next. It is believed on that one socket only, and never passed up.
const CLIENT: HeaderName = HeaderName::from_static("x-resetgate-client");

/// Where they are run, if not here; waits until it is clear.
///
/// # Errors
/// It did not become clear.
pub(super) async fn elsewhere(steps: &watch::Receiver<Steps>) -> Result<Option<Arc<Path>>, Unclear> {
    let mut steps = steps.clone();
    match timeout(PATIENCE, steps.wait_for(|steps| !matches!(steps, Steps::Held))).await {
        Ok(Ok(steps)) => match &*steps {
            Steps::There(path) => Ok(Some(Arc::clone(path))),
            Steps::Here | Steps::Held => Ok(None),
        },
        Ok(Err(_)) | Err(_) => Err(Unclear),
    }
}

/// Nobody said in time who runs them.
#[derive(Debug)]
pub(super) struct Unclear;

/// The process behind that socket.
pub(super) fn peer(path: &Path) -> pingora::Result<Box<HttpPeer>> {
    let path = path.to_str().ok_or_else(|| Error::new_up(ErrorType::ConnectNoRoute))?;
    let mut peer = HttpPeer::new_uds(path, false, String::new())?;
    peer.options.connection_timeout = Some(Duration::from_secs(2));
    peer.options.total_connection_timeout = Some(Duration::from_secs(2));
    peer.options.read_timeout = Some(WITHIN);
    peer.options.write_timeout = Some(WITHIN);
    peer.options.idle_timeout = Some(Duration::from_secs(5));
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    Ok(Box::new(peer))
}

/// Tells that process who the client is.
pub(super) fn introduce(request: &mut RequestHeader, client: Client) -> pingora::Result<()> {
    let name = match client {
        Client::V4(octets) => IpAddr::from(octets).to_string(),
        Client::V6(prefix) => {
            let mut octets = [0; 16];
            octets.iter_mut().zip(prefix).for_each(|(to, from)| *to = from);
            IpAddr::from(octets).to_string()
        }
        Client::Unknown => "unknown".to_owned(),
    };
    request.insert_header(CLIENT, name)
}

/// Whom the former process names.
pub(super) fn introduced(headers: &HeaderMap) -> Client {
    let named = headers.get(CLIENT).and_then(|name| HeaderValue::to_str(name).ok());
    named.and_then(|name| name.parse().ok()).map_or(Client::Unknown, Client::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_the_same_to_both() {
        for client in [Client::Unknown, Client::V4([192, 0, 2, 1]), Client::V6([0x20, 1, 0xd, 0xb8, 0, 1, 0, 2])] {
            let mut request = RequestHeader::build("POST", b"/", None).unwrap();
            request.append_header(CLIENT, "198.51.100.9").unwrap();
            introduce(&mut request, client).unwrap();
            assert_eq!(introduced(&request.headers), client);
        }
        assert_eq!(introduced(&HeaderMap::new()), Client::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_held_back_hears_where_to_go() {
        let (say, steps) = watch::channel(Steps::Here);
        assert!(elsewhere(&steps).await.unwrap().is_none());
        say.send_replace(Steps::Held);
        let waiting = tokio::spawn(async move { elsewhere(&steps).await });
        tokio::task::yield_now().await;
        say.send_replace(Steps::There(Path::new("/run/next.sock").into()));
        assert_eq!(&*waiting.await.unwrap().unwrap().unwrap(), Path::new("/run/next.sock"));
        say.send_replace(Steps::Held);
        elsewhere(&say.subscribe()).await.unwrap_err();
    }
}
