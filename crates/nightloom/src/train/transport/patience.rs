use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::TransportError;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Patience with a link, for `Session::with_patience`: after each failure in a row a pause twice as long, up to ten seconds,
/// until `limit` has passed since the first. `say` is told of the first failure. Errors that last are not tried again.
pub fn backing_off(
    limit: Duration,
    mut say: impl FnMut(&TransportError) + Send + 'static,
) -> impl FnMut(u32, &TransportError) -> ControlFlow<()> + Send + 'static {
    let mut since = Instant::now();
    move |failures, error| {
        if failures <= 1 {
            since = Instant::now();
        }
        let waited = since.elapsed();
        if !error.is_transient() || waited >= limit {
            return ControlFlow::Break(());
        }
        if failures <= 1 {
            say(error);
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << (failures.saturating_sub(1)).min(16));
        std::thread::sleep(doubled.min(LONGEST_PAUSE).min(limit - waited));
        ControlFlow::Continue(())
    }
}
