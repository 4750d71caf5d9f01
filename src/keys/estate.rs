//! What one process leaves to the next, sealed with the token keys: whoever finds the file can neither read nor write one.

use ring::rand::SystemRandom;

use super::{master, seal::Sealer, secret};
use crate::{config::TokenKey, reset::ports::Secret};

/// What comes first. Another form will have another number.
const FORM: &[u8] = b"resetgate estate 2\n";

/// Seals it with the newest key. `None` if the crypto library fails, or without a key.
pub fn seal(keys: &[TokenKey], estate: &[u8]) -> Option<Vec<u8>> {
    let sealed = sealer(keys.first()?)?.seal(estate, 0, &SystemRandom::new())?;
    Some([FORM, &sealed].concat())
}

/// Opens it with whichever key sealed it; `None` if none did.
pub fn open(keys: &[TokenKey], sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
    let sealed = sealed.strip_prefix(FORM)?;
    keys.iter().find_map(|key| {
        let mut estate = Secret::of(sealed.to_vec());
        sealer(key)?.open(&mut estate, 0).map(|()| estate)
    })
}

fn sealer(key: &TokenKey) -> Option<Sealer> {
    Some(Sealer::new(secret(&master(key.0.expose()), "resetgate estate seal v1")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_with_the_key_can_open_it() {
        let key = |byte| TokenKey(Secret::of([byte; 32]));
        let sealed = seal(&[key(1), key(2)], b"digests").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"digests"));
        assert_eq!(open(&[key(3), key(1)], &sealed).unwrap().expose(), b"digests");
        assert!(open(&[key(2), key(3)], &sealed).is_none());
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert!(open(&[key(1)], &forged).is_none(), "{at}");
            assert!(open(&[key(1)], &sealed[..at]).is_none(), "{at}");
        }
        assert!(seal(&[], b"").is_none());
    }
}
