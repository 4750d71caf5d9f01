//! Traces: what a mesh says of a request's place in one goes on as it came, up and to the identity store.

use crate::support::{
    raw::{Raw, request},
    upstream::{Seen, Upstream},
    world::{Plan, World},
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// What Envoy, linkerd, Istio, Jaeger and gRPC may have written.
const MESH: [(&str, &str); 14] = [
    ("traceparent", PARENT),
    ("tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
    ("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1"),
    ("X-B3-TraceId", "0af7651916cd43dd8448eb211c80319c"),
    ("X-B3-SpanId", "b7ad6b7169203331"),
    ("X-B3-ParentSpanId", "05e3ac9a4f6e3b90"),
    ("X-B3-Sampled", "1"),
    ("X-B3-Flags", "0"),
    ("x-ot-span-context", "a;b;c"),
    ("grpc-trace-bin", "AAAK92UZFs1D3YRI6yEcgDGcAbetaxcWkgMzECAQ"),
    ("l5d-ctx-trace", "AAAA"),
    ("uber-trace-id", "1:2:0:1"),
    ("baggage", "userId=alice"),
    ("X-Request-Id", "550e8400-e29b-41d4-a716-446655440000"),
];

#[tokio::test]
async fn what_a_mesh_says_goes_up_as_it_came() {
    let upstream = Upstream::start().await;
    let url = format!("url = \"http://{}\"", upstream.address);
    let world = World::with(Plan { upstream: Some(url), ..Plan::default() }).await;
    let target = "/openidm/info/ping";
    let ask = async |headers: &[(&str, &str)]| {
        let answer = Raw::exchange(world.gate, request("GET", target, headers, None)).await.unwrap();
        assert_eq!(answer.status, 200);
        upstream.last()
    };
    let seen = ask(&MESH).await;
    for (name, value) in MESH {
        assert_eq!(seen.header(name), [value], "{name}");
    }
    // What cannot be read is nobody's place.
    for parents in [&["00-0-0-01"][..], &[PARENT, PARENT], &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]]
    {
        let parents = parents.iter().map(|parent| ("traceparent", *parent));
        let seen = ask(&parents.chain([("tracestate", "a=b"), ("b3", "0")]).collect::<Vec<_>>()).await;
        assert!(seen.header("traceparent").is_empty() && seen.header("tracestate").is_empty());
        assert_eq!(seen.header("b3"), ["0"]);
    }
    let seen = ask(&[]).await;
    assert!(seen.header("traceparent").is_empty(), "a place that nobody records is nobody's");
}

#[tokio::test]
async fn the_identity_store_hears_of_it_and_of_nothing_else() {
    let idm = Upstream::answering(|_: &Seen| b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let world = World::with(Plan { identity: Some(idm.address), ..Plan::default() }).await;
    let body = serde_json::json!({"token": world.begin().await, "input": {"queryFilter": "userName eq \"bjensen\""}});
    assert_eq!(world.post_as(&MESH, body.to_string()).await.status, 503);
    let seen = idm.last();
    for (name, value) in &MESH[..8] {
        assert_eq!(seen.header(name), [*value], "{name}");
    }
    for (name, _) in &MESH[8..] {
        assert!(seen.header(name).is_empty(), "{name}");
    }
    // Several, or long: they are not taken along.
    let long = "a".repeat(513);
    let odd = [("traceparent", "00"), ("tracestate", "a=b"), ("b3", "1"), ("b3", "1"), ("x-b3-flags", &long)];
    assert_eq!(world.post_as(&odd, body.to_string()).await.status, 503);
    let seen = idm.last();
    assert!(odd.iter().all(|(name, _)| seen.header(name).is_empty()), "{:?}", seen.names());
}
