use super::*;
use crate::{config::TokenKey, keys::RingKeys, reset::ports};

fn siteverify(url: &str, remote_ip: bool) -> Siteverify {
    let url = url.parse().unwrap();
    let provider = Provider::of(&url);
    let service = config::Service { url, timeout: Duration::from_secs(1), tls: None };
    let config = config::Siteverify {
        provider,
        service,
        secret: Arc::new(Secret::new("our&secret=é")),
        site_key: "site key".to_owned(),
        min_score: None,
        action: None,
        hostnames: Vec::new(),
        remote_ip,
    };
    let keys = RingKeys::new(&[TokenKey(Secret::of([1; 32]))], &[2; 32]).unwrap();
    let metrics = Metrics::new(Time::default()).unwrap();
    Siteverify::new(&config, Arc::new(keys), Arc::new(metrics)).unwrap()
}

#[test]
fn whatever_is_answered_is_one_parameter() {
    let other = siteverify("http://127.0.0.1:1/verify", false);
    let client = ports::Client::V4([192, 0, 2, 7]);
    let secret = "secret=our%26secret%3D%C3%A9";
    for (response, written) in [
        ("good", "good"),
        ("a&secret=b", "a%26secret%3Db"),
        ("a\r\nHost: evil.example", "a%0D%0AHost%3A+evil.example"),
        ("%26response=x#&", "%2526response%3Dx%23%26"),
    ] {
        assert_eq!(*other.form(response, client).expose(), format!("{secret}&response={written}"));
    }
}

#[test]
fn each_service_is_told_what_it_needs() {
    let client = ports::Client::V4([192, 0, 2, 7]);
    let forms = |url: &str, remote_ip: bool, client| siteverify(url, remote_ip).form("x", client).expose().clone();
    assert!(forms("https://api.hcaptcha.com/siteverify", false, client).ends_with("&response=x&sitekey=site+key"));
    let turnstile = "https://challenges.cloudflare.com/turnstile/v0/siteverify";
    assert!(forms(turnstile, true, client).ends_with("&response=x&remoteip=192.0.2.7"));
    assert!(forms(turnstile, true, ports::Client::V6([0x20; 8])).ends_with("&response=x"));
    assert!(forms("https://www.google.com/recaptcha/api/siteverify", false, client).ends_with("&response=x"));
}

#[test]
fn services_are_known_by_their_hosts() {
    let of = |url: &str| Provider::of(&url.parse().unwrap());
    assert_eq!(of("https://www.google.com/recaptcha/api/siteverify"), Provider::Recaptcha);
    assert_eq!(of("https://www.recaptcha.net/recaptcha/api/siteverify"), Provider::Recaptcha);
    assert_eq!(of("https://hcaptcha.com/siteverify"), Provider::Hcaptcha);
    assert_eq!(of("https://challenges.cloudflare.com/turnstile/v0/siteverify"), Provider::Turnstile);
    assert_eq!(of("https://captcha.example.org/siteverify"), Provider::Other);
    assert_eq!(of("https://www.google.com.evil.example/siteverify"), Provider::Other);
}
