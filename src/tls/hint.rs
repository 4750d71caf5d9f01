//! What an operator may change where a handshake failed. The texts are constant: a certificate's names and a server's
//! words stay out of the log.

use std::{error::Error, io};

use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls, InvalidMessage};

/// The setting that a failure of TLS points at, and why; nothing of another failure.
pub fn explain(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let tls = find(error)?;
    Some(match tls {
        Tls::InvalidCertificate(bad) => certificate(bad),
        Tls::AlertReceived(Alert::CertificateRequired) => {
            "the server wants a client's certificate: set tls.certificate and tls.key"
        }
        Tls::AlertReceived(alert) if about_us(*alert) => {
            "the server does not accept the client's certificate: see tls.certificate, and whom the server trusts"
        }
        Tls::AlertReceived(Alert::UnrecognisedName) => {
            "the server does not know the name that it is asked for: see tls.server_name"
        }
        Tls::AlertReceived(Alert::HandshakeFailure) => {
            "the server has no version, cipher or signature in common with us, or wants a client's certificate: see \
             tls.certificate"
        }
        Tls::AlertReceived(Alert::ProtocolVersion) | Tls::PeerIncompatible(_) => {
            "the server has no version of TLS, or nothing in it, in common with us: 1.2 or 1.3 it must be"
        }
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answered does not speak TLS: see the port, and whether the URL should be http://"
        }
        _ => return None,
    })
}

/// The same of a mail relay, which has fewer settings.
pub fn explain_relay(error: &(dyn Error + 'static)) -> Option<&'static str> {
    Some(match find(error)? {
        Tls::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "nobody who is trusted vouches for the relay's certificate: set mail.ca to a PEM file of who does"
        }
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "the relay's certificate is for another name: have mail.transport name a host that it is for"
        }
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "the relay's certificate, or one that vouches for it, has expired: renew it at the relay"
        }
        Tls::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "the relay's certificate, or one that vouches for it, is not valid yet: see the clocks"
        }
        Tls::InvalidCertificate(_) => {
            "the relay's certificate cannot be used: it may be an authority's own, or made for another purpose; give \
             the relay one that an authority of mail.ca vouches for"
        }
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answered does not speak TLS at once: have mail.transport be smtp+starttls://, or name the port for \
             smtps:// (465)"
        }
        _ => "no TLS came about with the relay: 1.2 or 1.3 it must be, with a cipher in common",
    })
}

/// Whether the server ended the handshake because of the certificate that we showed, or did not show. In TLS 1.3 that
/// comes when the client believes itself connected; the server has listened to nothing by then.
pub fn refused(error: &(dyn Error + 'static)) -> bool {
    matches!(find(error), Some(Tls::AlertReceived(alert)) if about_us(*alert))
}

/// Whether it is TLS that failed, and not what it goes over.
pub fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    find(error).is_some()
}

const fn about_us(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError // its chain, or what it signed, does not verify
    )
}

fn certificate(bad: &Bad) -> &'static str {
    match bad {
        Bad::UnknownIssuer | Bad::BadSignature => {
            "nobody who is trusted vouches for the server's certificate: set tls.ca to who does, or tls.pin to the \
             certificate's own fingerprint"
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            "the server's certificate is for another name: set tls.server_name to one that it has"
        }
        Bad::Expired | Bad::ExpiredContext { .. } => {
            "the server's certificate, or one that vouches for it, has expired: renew it (or set tls.pin)"
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "the server's certificate, or one that vouches for it, is not valid yet: see the clocks (or set tls.pin)"
        }
        Bad::ApplicationVerificationFailure => {
            "the server's certificate is not the one of tls.pin: see whether it was renewed, and set the pin anew"
        }
        _ => {
            "the server's certificate cannot be used: it may be an authority's own, or made for another purpose; \
             tls.pin takes it as it is"
        }
    }
}

/// The TLS library's own error in a chain of errors. One within an I/O error is not that error's source.
fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Tls> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<Tls>() {
            return Some(tls);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
