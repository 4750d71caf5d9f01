//! When two POSTs are one gesture. A browser sends a click two to seven times: a double click, Enter on a focused
//! button, a replay after a cut connection.

use super::{
    ports::{Digest, Keys, Purpose},
    wire::Input,
};

/// Names a POST by its token's sealed field and by the input that its stage reads; what else it holds means nothing.
pub fn key(keys: &dyn Keys, token: &Digest, own_fields: &[&str], input: &Input) -> Digest {
    let values: Vec<_> = own_fields.iter().map(|name| input.raw(name)).collect();
    let mut parts: Vec<&[u8]> = vec![token];
    parts.extend(values.iter().map(|value| value.expose().as_slice()));
    keys.mac(Purpose::Repeat, &parts)
}
