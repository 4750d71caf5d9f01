//! The request's id: one header, settled once, so that who answers it, who is asked for it and whoever writes of it all say
//! the same.

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::{reset::ports::RequestId, telemetry::draw};

/// As Envoy, nginx and most others call it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The same as it is written in HTTP/1.1.
const WRITTEN: &str = "X-Request-Id";

/// What the request says, if it is one id that can do no harm; else one is drawn.
pub(super) fn settle(headers: &HeaderMap) -> RequestId {
    own(headers).unwrap_or_else(|| RequestId::from_random(draw::bytes()))
}

fn own(headers: &HeaderMap) -> Option<RequestId> {
    let mut all = headers.get_all(REQUEST_ID).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    one.to_str().ok().and_then(RequestId::parse)
}

/// It goes up as it was settled, whatever the client said, and although it may have named the header in `Connection`.
pub(super) fn send_up(request: &mut RequestHeader, id: &RequestId) -> pingora::Result<()> {
    let mut all = request.headers.get_all(REQUEST_ID).iter().map(HeaderValue::as_bytes);
    if (all.next(), all.next()) == (Some(id.as_str().as_bytes()), None) {
        return Ok(());
    }
    value(id).map_or(Ok(()), |value| request.insert_header(WRITTEN, value))
}

/// It comes back with every answer: an id of the upstream's own would be found nowhere but there.
pub(super) fn bring_back(answer: &mut ResponseHeader, id: &RequestId) -> pingora::Result<()> {
    value(id).map_or(Ok(()), |value| answer.insert_header(WRITTEN, value))
}

fn value(id: &RequestId) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(id.to_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(values: &[&[u8]]) -> (String, Vec<String>) {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for value in values {
            request.append_header("X-Request-ID", HeaderValue::from_bytes(value).unwrap()).unwrap();
        }
        let id = settle(&request.headers);
        send_up(&mut request, &id).unwrap();
        (
            id.to_string(),
            request.headers.get_all(REQUEST_ID).iter().map(|value| value.to_str().unwrap().to_owned()).collect(),
        )
    }

    #[test]
    fn one_harmless_id_is_kept_and_anything_else_is_replaced() {
        let (id, said) = settled(&[b"Ab-1"]);
        assert_eq!((id.as_str(), said), ("Ab-1", vec!["Ab-1".to_owned()]));
        let bad: [&[&[u8]]; 7] = [&[], &[b""], &[b"a b"], &[b"\xff"], &[b"a", b"b"], &[b"a", b"a"], &[&[b'a'; 129]]];
        for values in bad {
            let (id, said) = settled(values);
            assert_eq!((id.len(), said), (36, vec![id.clone()]), "{values:?}");
        }
    }
}
