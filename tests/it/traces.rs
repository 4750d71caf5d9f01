//! Traces: what a mesh says of a request's place in one goes on as it came, up and to the identity store.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message;
use tokio::net::TcpListener;

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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn took(_: &Seen) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
}

/// The spans of one export.
fn found(export: &Seen) -> impl Iterator<Item = Span> + use<> {
    let request = ExportTraceServiceRequest::decode(&export.body[..]).unwrap();
    request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans)
}

/// What a collector has got, and what it was sent in.
fn spans(collector: &Upstream) -> Vec<Span> {
    let mut all = Vec::new();
    for export in collector.seen() {
        assert_eq!(export.line(), "POST /v1/traces HTTP/1.1");
        assert_eq!(export.header("content-type"), ["application/x-protobuf"]);
        assert_eq!(export.header("x-tenant"), ["a tenant"]);
        assert!(export.body.windows(15).any(|bytes| bytes == b"gate under test"));
        all.extend(found(&export));
    }
    all
}

/// Names of spans, each with that of its parent, and how often.
fn tree(spans: &[Span]) -> BTreeMap<String, usize> {
    let mut tree = BTreeMap::new();
    for span in spans {
        let parent = spans.iter().find(|other| other.span_id == span.parent_span_id);
        let name = format!("{} < {}", span.name, parent.map_or("", |parent| &parent.name));
        *tree.entry(name).or_default() += 1;
    }
    tree
}

#[tokio::test]
async fn a_whole_reset_is_told_to_a_collector_and_nobody_is_in_it() {
    let collector = Upstream::answering(took).await;
    let tracing = format!(
        "otlp = \"http://{}\"\ninterval = \"100ms\"\nservice_name = \"gate under test\"\n\
         headers = [\"x-tenant: file:tenant\"]",
        collector.address
    );
    let files = vec![("tenant", "a tenant".to_owned())];
    let listen = "trusted_proxies = [\"127.0.0.1\"]";
    let mut world = World::with(Plan { tracing, files, listen, ..Plan::default() }).await;
    let proven = world.proven("bjensen", 1).await;
    assert_eq!(world.set(&proven, "Canary-Pass1").await.status, 200);
    let headers = [("traceparent", PARENT), ("X-Request-Id", "a1")];
    let passed = request("GET", "/openidm/managed/user/bjensen?_fields=mail", &headers, None);
    Raw::exchange(world.gate, passed).await.unwrap();
    let unsampled = [("traceparent", &*PARENT.replace("-01", "-00"))];
    Raw::exchange(world.gate, request("GET", "/openidm/info/ping", &unsampled, None)).await.unwrap();
    world.drain().await;

    let spans = spans(&collector);
    let step = "POST /openidm/selfservice/reset";
    let expected = [
        (format!("{step} < "), 4),
        (format!("identity find < {step}"), 1),
        // The link, and the news that the password was set.
        (format!("mail send < {step}"), 2),
        // When the code is shown, and before the password is set.
        (format!("identity read < {step}"), 2),
        (format!("identity patch < {step}"), 1),
        ("GET /openidm/managed/user/* < ".to_owned(), 1),
        ("GET < GET /openidm/managed/user/*".to_owned(), 1),
    ];
    assert_eq!(tree(&spans), expected.into());
    let continued = spans.iter().find(|span| span.name == "GET /openidm/managed/user/*").unwrap();
    assert_eq!(hex(&continued.trace_id), &PARENT[3..35]);
    assert_eq!(hex(&continued.parent_span_id), &PARENT[36..52]);
    let mail = spans.iter().find(|span| span.name == "mail send").unwrap();
    assert_eq!(mail.links[0].span_id, mail.parent_span_id);
    for span in &spans {
        assert!((span.trace_id.len(), span.span_id.len()) == (16, 8), "{span:?}");
        assert!(0 < span.start_time_unix_nano && span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
    }
    let all: Vec<u8> = collector.seen().into_iter().flat_map(|seen| [seen.head, seen.body].concat()).collect();
    let all = String::from_utf8_lossy(&all);
    for secret in ["bjensen", "Canary", "_fields", "@example.com", &proven[..16]] {
        assert!(!all.contains(secret), "{secret}");
    }
}

/// Who comes from anywhere could have all recorded, or what it does not.
#[tokio::test]
async fn a_stranger_does_not_say_what_is_recorded() {
    let upstream = Upstream::start().await;
    let url = format!("url = \"http://{}\"", upstream.address);
    for (sample, end) in [("0%", "-00"), ("100%", "-01")] {
        let collector = Upstream::answering(took).await;
        let tracing = format!("otlp = \"http://{}\"\ninterval = \"100ms\"\nsample = \"{sample}\"", collector.address);
        let mut world = World::with(Plan { tracing, upstream: Some(url.clone()), ..Plan::default() }).await;
        for flag in ["-00", "-01"] {
            let parent = PARENT.replace("-01", flag);
            let passed = request("GET", "/openidm/info/ping", &[("traceparent", &parent)], None);
            assert_eq!(Raw::exchange(world.gate, passed).await.unwrap().status, 200);
            let up = upstream.last().header("traceparent").concat();
            assert!(up.starts_with(&PARENT[..36]) && up.ends_with(end) && up[36..52] != PARENT[36..52], "{up}");
        }
        world.drain().await;
        let spans: usize = collector.seen().iter().map(|export| found(export).count()).sum();
        assert_eq!(spans, if sample == "0%" { 0 } else { 4 });
    }
}

#[tokio::test]
async fn a_collector_that_is_down_or_mute_or_says_no_costs_spans_and_no_request() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no = Upstream::answering(|_: &Seen| b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    for collector in ["127.0.0.1:1".to_owned(), mute.local_addr().unwrap().to_string(), no.address.to_string()] {
        let tracing = format!("otlp = \"http://{collector}\"\ninterval = \"100ms\"\ntimeout = \"100ms\"");
        let upstream = Upstream::start().await;
        let url = format!("url = \"http://{}\"", upstream.address);
        let world = World::with(Plan { tracing, upstream: Some(url), ..Plan::default() }).await;
        assert_eq!(world.get("/openidm/info/ping").await.status, 200);
        let up = upstream.last().header("traceparent").concat();
        assert!(up.starts_with("00-") && up.ends_with("-01"), "{up}");
        world.until(async || world.metric("trace_spans_dropped_total").await == "2").await;
        assert!(no.count() <= 1, "what is refused is not sent again");
        assert_eq!(world.get("/openidm/info/ping").await.status, 200);
    }
}
