//! What Pingora asks of a connection beside its bytes. Who is at the other end and what TLS told, the gate asks itself.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::io::AsyncWriteExt;

use super::Connection;

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // A client that is gone gets nothing more.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl Peek for Connection {}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.io.fd()
    }
}

impl Ssl for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
