//! Signatures as Standard Webhooks has them: the receiver's own library knows them, whatever it is written in.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

use crate::reset::ports::{Secret, Time};

/// What signs: one key, or several while one takes another's place.
pub(super) struct Signer(Vec<hmac::Key>);

impl Signer {
    pub(super) fn new(secrets: &[Secret<Vec<u8>>]) -> Self {
        Self(secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose())).collect())
    }

    /// `webhook-signature` of a call of that name, made then: one signature a key, in their order.
    pub(super) fn sign(&self, id: &str, at: Time, body: &[u8]) -> String {
        let signed = [format!("{id}.{}.", at.secs()).as_bytes(), body].concat();
        let one = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, &signed)));
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own reference libraries.
    #[test]
    fn it_signs_as_the_specification_does() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signer = Signer::new(&[Secret::of(key), Secret::of(vec![1; 32])]);
        let signature = signer.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Time::from_millis(1_614_265_330_999),
            br#"{"test": 2432232314}"#,
        );
        let (first, second) = signature.split_once(' ').unwrap();
        assert_eq!(first, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(second.starts_with("v1,") && second.len() == first.len() && second != first);
    }
}
