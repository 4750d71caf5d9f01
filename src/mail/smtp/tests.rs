use super::*;

fn relay(tls: SmtpTls, ca: Option<&str>) -> Smtp {
    Smtp { host: "localhost".to_owned(), port: 25, tls, ca: ca.map(str::to_owned), credentials: None }
}

#[test]
fn a_ca_must_hold_a_certificate() {
    let start = |ca: &str| Relay::new(&relay(SmtpTls::StartTls, Some(ca)), None, DEADLINE).err();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    assert!(start(&made.cert.pem()).is_none());
    for bad in ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(start(bad), Some(StartError::Ca)), "{bad}");
    }
}

#[test]
fn the_helo_name_is_a_host() {
    for (name, said) in [
        ("reset.example.com", "reset.example.com"),
        ("192.0.2.1", "[192.0.2.1]"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
    ] {
        assert_eq!(client_id(name).unwrap().to_string(), said);
    }
    for bad in ["", "a b", "a\r\nMAIL", "<x>"] {
        assert!(matches!(client_id(bad), Err(StartError::Helo)), "{bad:?}");
    }
}
