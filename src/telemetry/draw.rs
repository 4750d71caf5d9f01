//! Random ids for requests, traces and spans: many, so the system is asked once for a whole stock of them.

use std::cell::RefCell;

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes that a thread asks for at a time.
const STOCK: usize = 1024;

struct Stock {
    bytes: [u8; STOCK],
    left: usize,
}

thread_local! {
    static STOCKS: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; STOCK], left: 0 }) };
}

/// That many bytes that nobody has had. A system that has none gives zeros, and no reset either.
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N > 0 && N <= STOCK) };
    STOCKS.with_borrow_mut(|stock| {
        let bytes = stock.bytes.get(..stock.left).and_then(<[u8]>::last_chunk::<N>).copied();
        if let Some(bytes) = bytes {
            stock.left -= N;
            return bytes;
        }
        stock.left = match SystemRandom::new().fill(&mut stock.bytes) {
            Ok(()) => STOCK - N,
            Err(_) => 0,
        };
        stock.bytes.last_chunk::<N>().copied().filter(|_| stock.left > 0).unwrap_or([0; N])
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nobody_has_anybody_elses() {
        let thread = || std::thread::spawn(|| (0..500).map(|_| bytes::<16>()).collect::<Vec<_>>());
        let threads = [thread(), thread()];
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 1000);
        let spans: HashSet<[u8; 8]> = (0..1000).map(|_| bytes()).collect();
        assert_eq!(spans.len(), 1000);
    }
}
