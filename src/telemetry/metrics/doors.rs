//! Numbers of what comes before a connection's first request, and of the certificates that are shown and taken there.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::{MetricsError, add, family, opts, register};
use crate::{
    reset::ports::Time,
    telemetry::labels::{ANNOUNCEMENTS, HANDSHAKES, announcement, handshake},
};

/// Why a TLS handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// It took too long.
    Slow,
    /// The client was gone.
    Gone,
    /// What the client said was no TLS, or broken.
    Garbage,
    /// There is no version, cipher or protocol that both speak.
    Incompatible,
    /// The client showed no certificate, or none that is taken.
    Certificate,
    /// The client did not take ours, or gave up for a reason of its own.
    Refused,
}

/// Why a connection that was to begin with whom it is from (PROXY protocol) was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Its peer may not say that.
    Stranger,
    /// It did not say it, or not clearly.
    Malformed,
    /// It took too long.
    Slow,
    /// It was closed before.
    Gone,
}

/// The counters and gauges.
#[derive(Debug)]
pub struct Doors {
    handshakes: IntCounterVec,
    announcements: IntCounterVec,
    expires: IntGaugeVec,
    loaded: IntGaugeVec,
}

impl Doors {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let r = registry;
        let handshakes = family(r, "failed_handshakes", "TLS handshakes that failed", &[("why", HANDSHAKES)])?;
        let help = "Connections closed for want of a PROXY header that is believed";
        let announcements = family(r, "refused_proxy_headers", help, &[("why", ANNOUNCEMENTS)])?;
        let gauge = |name, help| {
            let made = IntGaugeVec::new(opts(name, help), &["certificate"])?;
            register(r, &made)?;
            Ok::<_, MetricsError>(made)
        };
        let help = "When the first certificate of that key of the configuration ends, in seconds since the Unix epoch";
        let expires = gauge("certificate_expires_timestamp_seconds", help)?;
        let help = "Since when it is in use, in seconds since the Unix epoch";
        let loaded = gauge("certificate_loaded_timestamp_seconds", help)?;
        Ok(Self { handshakes, announcements, expires, loaded })
    }

    /// Counts a handshake that failed.
    pub fn handshake_failed(&self, why: Handshake) {
        add(&self.handshakes, &[handshake(why)]);
    }

    /// Counts a connection without a PROXY header that is believed.
    pub fn announcement_refused(&self, why: Announcement) {
        add(&self.announcements, &[announcement(why)]);
    }

    /// Tells which certificates are in use from now on, by the keys of the configuration, and when they end, in seconds
    /// since the Unix epoch.
    pub fn certificates(&self, all: &[(String, i64)], now: Time) {
        self.expires.reset();
        self.loaded.reset();
        for (key, expires) in all {
            if let Ok(gauge) = self.expires.get_metric_with_label_values(&[key]) {
                gauge.set(*expires);
            }
            if let Ok(gauge) = self.loaded.get_metric_with_label_values(&[key]) {
                gauge.set(i64::try_from(now.secs()).unwrap_or(i64::MAX));
            }
        }
    }
}
