//! Whether a password is among those that breaches made known, by k-anonymity: the service is told the first five digits
//! of its SHA-1, as some thousand other known passwords begin, and gives the rest of each of these.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use url::Url;

use crate::{
    config::Breach as Config,
    outbound::{Client, Name, Unusable},
    reset::ports::{Down, Secret},
    telemetry::metrics::Metrics,
};

/// Asks for as many lines whatever the digits, so that who sees no more than lengths does not know which these were.
const PADDING: (HeaderName, HeaderValue) = (HeaderName::from_static("add-padding"), HeaderValue::from_static("true"));
/// Some thousand lines of forty bytes are usual.
const ANSWER: usize = 512 << 10;
/// How much of the hash is told.
const TOLD: usize = 5;
/// All of it, in digits.
const WHOLE: usize = 40;
const RETRY: Duration = Duration::from_secs(5);

/// The service.
pub(super) struct Breach {
    client: Client,
    least: u64,
    refuses: bool,
}

impl Breach {
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>) -> Result<Self, Unusable> {
        let client = Client::new(&config.service, Name::Breach, ANSWER, metrics)?;
        Ok(Self { client, least: config.min_count.into(), refuses: config.refuses })
    }

    /// Whether it was seen often enough. Where nobody can say, the configuration does.
    pub(super) async fn has(&self, password: &Secret) -> Result<bool, Down> {
        match self.count(password).await {
            Some(count) => Ok(count >= self.least),
            None if self.refuses => Err(Down { sent: false, full: false, retry_after: RETRY }),
            None => Ok(false),
        }
    }

    /// How many it knows that begin with these digits; or why nobody can say.
    pub(super) async fn known(&self, told: &str) -> Result<usize, String> {
        let url = below(self.client.url(), told).ok_or("nothing can be added to its path")?;
        let answer = self.client.send(Method::GET, Some(&url), vec![PADDING], Bytes::new()).await;
        let answer = answer.map_err(|failure| {
            let hint = failure.hint.map(|hint| format!(" ({})", hint.replace("tls.", "policy.breach.tls.")));
            format!("{}{}", failure.kind.as_str(), hint.unwrap_or_default())
        })?;
        if answer.status != StatusCode::OK {
            return Err(format!("it answers {}", answer.status.as_u16()));
        }
        let text = answer.body.expose();
        count(text, "").ok_or("its answer is not that of such a service")?;
        Ok(text.split(|byte| *byte == b'\n').filter(|line| line.contains(&b':') && !line.ends_with(b":0")).count())
    }

    async fn count(&self, password: &Secret) -> Option<u64> {
        let hash = hash(password);
        let (told, rest) = hash.expose().split_at_checked(TOLD)?;
        let url = below(self.client.url(), told)?;
        let answer = self.client.send(Method::GET, Some(&url), vec![PADDING], Bytes::new()).await.ok()?;
        if answer.status != StatusCode::OK {
            return None;
        }
        let count = count(answer.body.expose(), rest);
        if count.is_none() {
            self.client.malformed();
        }
        count
    }
}

/// In upper case.
fn hash(password: &Secret) -> Secret {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = Secret::new(String::with_capacity(WHOLE));
    for byte in digest(&SHA1_FOR_LEGACY_USE_ONLY, password.expose().as_bytes()).as_ref() {
        for digit in [byte >> 4, byte & 15] {
            text.expose_mut().push(DIGITS.get(usize::from(digit)).copied().map_or('0', char::from));
        }
    }
    text
}

/// `…/range` and `…/range/` are the same place.
fn below(base: &Url, told: &str) -> Option<Url> {
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().push(told);
    Some(url)
}

/// How often the one with that rest was seen: never, if no line has it. `None`, where a line is not as it should be: then
/// it is not this service that has answered, whatever it was.
fn count(body: &[u8], rest: &str) -> Option<u64> {
    let mut found = 0;
    for line in std::str::from_utf8(body).ok()?.lines().filter(|line| !line.is_empty()) {
        let (hash, count) = line.split_once(':')?;
        let count: u64 = count.trim().parse().ok()?;
        if hash.len() != WHOLE - TOLD || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        if hash.eq_ignore_ascii_case(rest) {
            found = count;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_everybody_takes_it_for() {
        assert_eq!(hash(&Secret::new("password")).expose(), "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8");
    }

    #[test]
    fn five_digits_are_told_below_whatever_place() {
        for (base, url) in [
            ("https://a.example/range", "https://a.example/range/5BAA6"),
            ("https://a.example/range/", "https://a.example/range/5BAA6"),
            ("https://a.example", "https://a.example/5BAA6"),
            ("https://a.example/x?key=1", "https://a.example/x/5BAA6?key=1"),
        ] {
            assert_eq!(below(&Url::parse(base).unwrap(), "5BAA6").unwrap().as_str(), url);
        }
    }

    #[test]
    fn an_answer_is_lines_of_rests_and_counts_and_nothing_else() {
        let rest = "1E4C9B93F3F0682250B6CF8331B7EE68FD8";
        let other = "0018A45C4D1DEF81644B54AB7F969B88D65";
        let of = |text: &str| count(text.as_bytes(), rest);
        assert_eq!(of(&format!("{other}:7\r\n{rest}:10434004\r\n")), Some(10_434_004));
        assert_eq!(of(&format!("{}:3\n", rest.to_lowercase())), Some(3));
        assert_eq!(of(&format!("{other}:7\r\n")), Some(0));
        // A line that is there for its length.
        assert_eq!(of(&format!("{other}:0\r\n{rest}:0")), Some(0));
        assert_eq!(of(""), Some(0));
        for garbage in [
            "<html>",
            "{}",
            rest,
            &format!("{rest}:"),
            &format!("{rest}:-1"),
            &format!("{rest}:x"),
            &format!("5BAA6{rest}:1"),
            &format!("{}G:1", &rest[1..]),
            &format!("{rest}:1\nand more"),
        ] {
            assert_eq!(of(garbage), None, "{garbage}");
        }
        assert_eq!(count(&[0xff, 0xfe], rest), None);
    }
}
