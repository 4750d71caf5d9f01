//! Tokens that were never minted.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const PEM: &[u8] = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

/// The token after what `steps` does to it.
pub(super) fn forge(steps: &str, token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { panic!("a token has three parts") };
    let with_header = |edit: &dyn Fn(&mut Value)| format!("{}.{claims}.{signature}", edited(header, edit));
    let with_claims = |edit: &dyn Fn(&mut Value)| format!("{header}.{}.{signature}", edited(claims, edit));
    let step = steps.strip_prefix("mutate: ").unwrap_or(steps);
    match step {
        "jwt.header.alg=none; drop signature" => {
            format!("{}.{claims}.", edited(header, &|header| header["alg"] = "none".into()))
        }
        "keep header HS256; empty third part" => format!("{header}.{claims}."),
        "sign HS256 with the public key PEM bytes" => signed(PEM, header, claims),
        "jwt.header.kid=../../../../dev/null; sign with empty key" => {
            signed(b"", &edited(header, &|header| header["kid"] = "../../../../dev/null".into()), claims)
        }
        "jwt.header.kid=nope" => with_header(&|header| header["kid"] = "nope".into()),
        "jwt.header.crit=['x'];x=1" => with_header(&|header| {
            header["crit"] = json!(["x"]);
            header["x"] = 1.into();
        }),
        "jwt.header.b64=false; crit=['b64']" => with_header(&|header| {
            header["b64"] = false.into();
            header["crit"] = json!(["b64"]);
        }),
        "exp='9999999999'" => with_claims(&|claims| claims["exp"] = "9999999999".into()),
        "exp=now+10y (re-signed only if key known; else must fail)" => {
            with_claims(&|claims| claims["exp"] = (claims["exp"].as_u64().unwrap() + 315_360_000).into())
        }
        "nbf=now+3600" => with_claims(&|claims| claims["nbf"] = (claims["exp"].as_u64().unwrap() + 3600).into()),
        "aud=other" => with_claims(&|claims| claims["aud"] = "other".into()),
        "craft JWE alg=dir enc=A128GCM" => {
            format!(
                "{}..AAAAAAAAAAAAAAAA.{claims}.AAAAAAAAAAAAAAAAAAAAAA",
                encoded(&json!({"alg": "dir", "enc": "A128GCM"}))
            )
        }
        "JWE zip=DEF 100 MB of zeros" => {
            let header = encoded(&json!({"alg": "dir", "enc": "A128GCM", "zip": "DEF"}));
            // As much of it as the limit of a body lets in.
            format!("{header}..AAAAAAAAAAAAAAAA.{}.AAAAAAAAAAAAAAAAAAAAAA", "A".repeat(12_000))
        }
        "flip unused bits of the last base64url character" => {
            let last = ALPHABET.find(token.chars().last().unwrap()).unwrap();
            format!("{}{}", &token[..token.len() - 1], &ALPHABET[last ^ 1..=last ^ 1])
        }
        "append newline" => format!("{token}\n"),
        "upper-case everything" => token.to_ascii_uppercase(),
        "mint with the IDM registration flow key alias" => signed(b"selfservice/registration", header, claims),
        "jwt.header.reorder" => with_header(&reversed),
        "jwt.claims.reorder" => with_claims(&reversed),
        "jwt.sig.truncate" => token[..token.len() - 2].to_owned(),
        "jwt.sig.extend" => format!("{token}AA"),
        "jwt.sig.zero" => format!("{header}.{claims}.{}", "A".repeat(signature.len())),
        "jwt.pad" => format!("{token}="),
        // Every fourth signature has neither.
        "jwt.std64" if !token.contains(['-', '_']) => format!("{token}+"),
        "jwt.std64" => token.replace('-', "+").replace('_', "/"),
        "jwt.blank.front" => format!(" {token}"),
        "jwt.blank.mid" => format!("{header}. {claims}.{signature}"),
        "jwt.parts.2" => format!("{header}.{claims}"),
        "jwt.parts.4" => format!("{token}.{signature}"),
        "jwt.parts.5" => format!("{header}..{claims}.{signature}."),
        "jwt.lower" => token.to_ascii_lowercase(),
        "jwt.swap" => format!("{claims}.{header}.{signature}"),
        "jwt.percent" => token.replace('.', "%2e"),
        "jwt.nul" => format!("{token}\0"),
        "jwt.bearer" => format!("Bearer {token}"),
        "jwt.quoted" => format!("\"{token}\""),
        "jwt.empty" => String::new(),
        "jwt.dots" => "..".to_owned(),
        "jwt.huge" => format!("{token}{}", "A".repeat(20_000)),
        "random bytes base64url" => URL_SAFE_NO_PAD.encode((0..=255).collect::<Vec<u8>>()),
        member => {
            let (part, rest) = member.strip_prefix("jwt.").and_then(|rest| rest.split_once('.')).expect("a mutation");
            let (name, value) = rest.split_once('=').expect("a member's value");
            // A number or null is one; all else is text.
            let value = value.parse::<i64>().map(Value::from).unwrap_or_else(|_| match value {
                "null" => Value::Null,
                text => text.into(),
            });
            match part {
                "header" => with_header(&|header| header[name] = value.clone()),
                "claims" => with_claims(&|claims| claims[name] = value.clone()),
                _ => panic!("no such mutation: {member}"),
            }
        }
    }
}

fn reversed(part: &mut Value) {
    let members = part.as_object().unwrap().clone();
    *part = members.into_iter().rev().collect();
}

fn edited(part: &str, edit: &dyn Fn(&mut Value)) -> String {
    let mut json: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    edit(&mut json);
    encoded(&json)
}

fn encoded(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn signed(key: &[u8], header: &str, claims: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let signature = hmac::sign(&key, format!("{header}.{claims}").as_bytes());
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
}
